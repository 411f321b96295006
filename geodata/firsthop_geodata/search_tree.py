"""The search tree of a MaxMind DB, traversed breadth-first with numpy: networks to data pointers.

Implements the binary search tree section of the MaxMind DB format specification 2.0. The records
behind pointers are parsed in :mod:`firsthop_geodata.records`.
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
"""The pointer of networks without a record (real pointers are larger than the node count)."""

DATA_SEPARATOR = 16
"""Zero bytes between the tree and the data section; pointers count them as part of the data."""

MAX_VISITS_PER_NODE = 4
"""Limit of visits relative to the node count. A node of a tree has one parent; writers may share
equal subtrees, but not this often."""
SMALL_TREE = 1 << 16
"""Number of visits below which any sharing of subtrees is accepted."""

U64 = NDArray[np.uint64]
U32 = NDArray[np.uint32]

_PRUNED: dict[int, tuple[tuple[int, int], ...]] = {
    16: ((SIX_TO_FOUR << 48, 0),),
    96: ((0, V4_MAPPED << 32), (NAT64 >> 32, 0)),
}
"""Subtrees, by depth and (top, low) halves of the address, that are looked up as IPv4. Vendors
alias or copy the IPv4 tree there, and it must not be traversed again."""


class Metadata(Protocol):
    """The metadata that describe the tree; implemented by maxminddb's metadata."""

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
    the file's record values, :data:`NOTHING` if there is no record.
    """

    top: U64
    low: U64
    pointers: U32


@dataclass(frozen=True, slots=True)
class SearchTree:
    """Nodes as an (n, 2) array of record values, and the root of the IPv4 part."""

    path: Path
    nodes: U32
    ip_version: int
    v4_root: int

    def v4_leaves(self) -> Leaves:
        """The networks of the IPv4 tree (in an IPv6 file, the subtree ::/96)."""
        return self._walk(self.v4_root, 96, alias=None)

    def v6_leaves(self) -> Leaves:
        """The networks of the IPv6 tree down to /64, without blocks that are looked up as IPv4.

        A /64 with deeper records is represented by the first of them.
        """
        if self.ip_version == 4:
            empty = np.zeros(1, np.uint64)
            return Leaves(empty, empty, np.full(1, NOTHING, np.uint32))
        alias = self.v4_root if self.v4_root < len(self.nodes) else None
        leaves = self._walk(0, 0, alias=alias)
        order = np.arange(len(leaves.top))
        if np.any(leaves.low):  # else no record is deeper than /64
            order = np.lexsort((leaves.low, leaves.pointers == NOTHING, leaves.top))
        first = np.ones(len(order), np.bool_)
        first[1:] = np.diff(leaves.top[order]) != 0
        chosen = order[first]
        return Leaves(leaves.top[chosen], leaves.low[chosen], leaves.pointers[chosen])

    def _walk(self, root: int, depth: int, *, alias: int | None) -> Leaves:
        """All leaves below ``root``, which is ``depth`` bits deep; ``alias`` is never entered."""
        count = len(self.nodes)
        values = np.array([root], np.uint32)
        top, low = np.zeros(1, np.uint64), np.zeros(1, np.uint64)
        found: list[tuple[U64, U64, U32]] = []
        visited = 0
        while True:
            pruned = _pruned(depth, top, low)
            if alias is not None:
                pruned |= values == alias
            stop = pruned | (values >= count)
            pointers = np.where(pruned | (values <= count), np.uint32(NOTHING), values)
            found.append((top[stop], low[stop], pointers[stop]))
            top, low, values = top[~stop], low[~stop], values[~stop]
            visited += len(values)
            if not len(values):
                return _sorted(found)
            if depth == 128 or visited > MAX_VISITS_PER_NODE * count + SMALL_TREE:
                raise GeodataError(self.path, "has a search tree with loops: corrupt")
            top, low, values = np.repeat(top, 2), np.repeat(low, 2), self.nodes[values].reshape(-1)
            half = top if depth < 64 else low
            half[1::2] |= np.uint64(1 << (127 - depth) % 64)
            depth += 1


def _pruned(depth: int, top: U64, low: U64) -> NDArray[np.bool_]:
    pruned = np.zeros(len(top), np.bool_)
    for pruned_top, pruned_low in _PRUNED.get(depth, ()):
        pruned |= (top == np.uint64(pruned_top)) & (low == np.uint64(pruned_low))
    return pruned


def _sorted(found: list[tuple[U64, U64, U32]]) -> Leaves:
    top, low, pointers = (np.concatenate(column) for column in zip(*found, strict=True))
    # Each depth is sorted already, which makes a stable sort fast.
    order = np.argsort(low, kind="stable")
    if np.any(top):
        order = order[np.argsort(top[order], kind="stable")]
    return Leaves(top[order], low[order], pointers[order])


def read_tree(path: Path, content: bytes, metadata: Metadata) -> SearchTree:
    """Read the tree at the beginning of a file; every record must point inside the file.

    Raises GeodataError for an invalid record size or version, a truncated tree, or records that
    point before the data section or past the end.
    """
    count, size, ip_version = metadata.node_count, metadata.record_size, metadata.ip_version
    if size not in (24, 28, 32) or ip_version not in (4, 6) or count < 1:
        raise GeodataError(
            path, f"has {count} nodes of record size {size} for IP version {ip_version}"
        )
    length = count * size // 4
    if length + DATA_SEPARATOR > len(content):
        raise GeodataError(path, "ends inside its search tree: truncated")
    raw = np.frombuffer(content, np.uint8, length).reshape(count, size // 4)
    nodes = decode_nodes(raw, size)
    pointers = nodes[nodes > count]
    if len(pointers) and not (
        int(pointers.min()) >= count + DATA_SEPARATOR
        and int(pointers.max()) - count < len(content) - length
    ):
        raise GeodataError(path, "has a search tree that points outside its data: corrupt")
    return SearchTree(path, nodes, ip_version, _v4_root(nodes, ip_version))


def decode_nodes(raw: NDArray[np.uint8], size: int) -> U32:
    """Decode big-endian record pairs; 28-bit records share the middle byte, left half first."""
    nodes = np.zeros((len(raw), 2), np.uint32)
    for half, columns in enumerate((range(size // 8), range(-(size // 8), 0))):
        for column in columns:
            nodes[:, half] = nodes[:, half] << 8 | raw[:, column]
    if size == 28:
        nodes[:, 0] |= (raw[:, 3].astype(np.uint32) >> 4) << 24
        nodes[:, 1] |= (raw[:, 3].astype(np.uint32) & 15) << 24
    return nodes


def _v4_root(nodes: U32, ip_version: int) -> int:
    """The record reached after 96 zero bits, or the leaf met on the way."""
    root = 0
    for _ in range(96 if ip_version == 6 else 0):
        if root >= len(nodes):
            break
        root = int(nodes[root, 0])
    return root
