"""The search tree of a MaxMind DB, walked breadth-first with numpy: networks to data pointers.

Implements the binary search tree section of the MaxMind DB format specification 2.0. Knows
bits, not records: what a pointer's data mean is for :mod:`firsthop_geodata.records`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from firsthop_geodata.addresses import NAT64, SIX_TO_FOUR, V4_MAPPED
from firsthop_geodata.errors import GeodataError

NOTHING = 0
"""The pointer of networks that have no record (real ones are larger than the node count)."""

DATA_SEPARATOR = 16
"""Zero bytes between the tree and the data section; a pointer counts them as data."""

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

_PRUNED: dict[int, tuple[tuple[int, int], ...]] = {
    16: ((SIX_TO_FOUR << 48, 0),),
    96: ((0, V4_MAPPED << 32), (NAT64 >> 32, 0)),
}
"""Subtrees, by depth and (top, low) halves of the address, that look-ups answer as IPv4: vendors
alias or copy the IPv4 tree there, and it must not be walked again."""


class Metadata(Protocol):
    """What the tree's shape depends on; maxminddb's metadata has it."""

    @property
    def node_count(self) -> int: ...
    @property
    def record_size(self) -> int: ...
    @property
    def ip_version(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Leaves:
    """Networks in ascending order that partition an address space.

    ``top`` and ``low`` are the halves of the first address (IPv4: ``top`` is 0), ``pointers``
    the file's record values, :data:`NOTHING` where there is no record.
    """

    top: U64
    low: U64
    pointers: I64


@dataclass(frozen=True, slots=True)
class SearchTree:
    """Nodes as an (n, 2) array of record values, and where the IPv4 part begins."""

    path: Path
    nodes: I64
    ip_version: int
    v4_root: int

    def v4_leaves(self) -> Leaves:
        """The networks of the IPv4 tree (in an IPv6 file, what lies below ::/96)."""
        return self._walk(self.v4_root, 96, alias=-1)

    def v6_leaves(self) -> Leaves:
        """The networks of the IPv6 tree down to /64, without anything answered as IPv4.

        Of records deeper than /64 the first of each /64 stands for it.
        """
        if self.ip_version == 4:
            empty = np.zeros(1, np.uint64)
            return Leaves(empty, empty, np.full(1, NOTHING, np.int64))
        alias = self.v4_root if self.v4_root < len(self.nodes) else -1
        leaves = self._walk(0, 0, alias=alias)
        order = np.lexsort((leaves.low, leaves.pointers == NOTHING, leaves.top))
        top, first = np.unique(leaves.top[order], return_index=True)
        chosen = order[first]
        return Leaves(top, leaves.low[chosen], leaves.pointers[chosen])

    def _walk(self, root: int, depth: int, *, alias: int) -> Leaves:
        """All leaves below ``root``, which is ``depth`` bits deep; ``alias`` is never entered."""
        count = len(self.nodes)
        values = np.array([root], np.int64)
        top, low = np.zeros(1, np.uint64), np.zeros(1, np.uint64)
        found: list[tuple[U64, U64, I64]] = []
        visited = 0
        while True:
            stop = (values >= count) | (values == alias) | _pruned(depth, top, low)
            pointers = np.where(values > count, values, NOTHING)
            pointers[_pruned(depth, top, low)] = NOTHING
            found.append((top[stop], low[stop], pointers[stop]))
            top, low, values = top[~stop], low[~stop], values[~stop]
            visited += len(values)
            if not len(values):
                return _sorted(found)
            # Every node of a tree has one parent; more visits than this mean loops.
            if depth == 128 or visited > 2 * count:
                raise GeodataError(self.path, "has a search tree with loops: corrupt")
            bit = np.uint64(1 << (127 - depth) % 64)
            ones = (top | bit, low) if depth < 64 else (top, low | bit)
            top, low = np.concatenate((top, ones[0])), np.concatenate((low, ones[1]))
            values = self.nodes[values].T.reshape(-1)
            depth += 1


def _pruned(depth: int, top: U64, low: U64) -> NDArray[np.bool_]:
    pruned = np.zeros(len(top), np.bool_)
    for pruned_top, pruned_low in _PRUNED.get(depth, ()):
        pruned |= (top == np.uint64(pruned_top)) & (low == np.uint64(pruned_low))
    return pruned


def _sorted(found: list[tuple[U64, U64, I64]]) -> Leaves:
    top, low, pointers = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((low, top))
    return Leaves(top[order], low[order], pointers[order])


def read_tree(path: Path, metadata: Metadata) -> SearchTree:
    """Read the tree at the head of the file and check that every record stays inside the file.

    Raises GeodataError for a size or version the format does not have, a truncated tree, and
    records that point before the data section or past the end.
    """
    count, size, ip_version = metadata.node_count, metadata.record_size, metadata.ip_version
    if size not in (24, 28, 32) or ip_version not in (4, 6) or count < 1:
        raise GeodataError(
            path, f"has {count} nodes of record size {size} for IP version {ip_version}"
        )
    length = count * size // 4
    try:
        file_size = path.stat().st_size
        if length + DATA_SEPARATOR > file_size:
            raise GeodataError(path, "ends inside its search tree: truncated")
        raw = np.fromfile(path, np.uint8, length).reshape(count, size // 4)
    except OSError as error:
        raise GeodataError(path, f"cannot be read: {error.strerror}") from error
    nodes = _decode(raw, size)
    pointers = nodes[nodes > count]
    if len(pointers) and not (
        pointers.min() >= count + DATA_SEPARATOR and pointers.max() - count < file_size - length
    ):
        raise GeodataError(path, "has a search tree that points outside its data: corrupt")
    return SearchTree(path, nodes, ip_version, _v4_root(nodes, ip_version))


def _decode(raw: NDArray[np.uint8], size: int) -> I64:
    """Big-endian record pairs; those of 28 bits share their middle byte, left half first."""
    if size == 32:
        return raw.reshape(-1).view(">u4").reshape(-1, 2).astype(np.int64)
    wide = raw.astype(np.int64)
    left = wide[:, 0] << 16 | wide[:, 1] << 8 | wide[:, 2]
    right = wide[:, -3] << 16 | wide[:, -2] << 8 | wide[:, -1]
    if size == 28:
        left |= wide[:, 3] >> 4 << 24
        right |= (wide[:, 3] & 15) << 24
    return np.stack((left, right), axis=1)


def _v4_root(nodes: I64, ip_version: int) -> int:
    """The record reached by 96 zero bits, or the leaf met on the way."""
    root = 0
    for _ in range(96 if ip_version == 6 else 0):
        if root >= len(nodes):
            break
        root = int(nodes[root, 0])
    return root
