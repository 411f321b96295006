"""Small MaxMind databases made on the spot, aliases of the IPv4 tree included."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

MakeMmdb = Callable[..., Path]


def _alias(writer: MMDBWriter, network: str) -> None:
    """Make ``network`` of the tree the very node of ::/96, as MaxMind's databases do."""
    v4: Any = writer.tree
    for _ in range(96):
        v4 = v4.left
    block = ip_network(network)
    bits = f"{int(block[0]):0128b}"[: block.prefixlen]
    node: Any = writer.tree
    for bit in bits[:-1]:
        node = node.get_or_create(int(bit))
    node[int(bits[-1])] = v4


BUILD_EPOCH = 1_767_225_600
"""Seconds since 1970 in every database that a test makes."""


@pytest.fixture
def make_mmdb(tmp_path: Path) -> MakeMmdb:
    """Write a database of {network: record}, least specific first, and give its path."""

    def make(
        networks: dict[str, Any],
        *,
        name: str = "test.mmdb",
        database_type: str = "Test-City",
        ip_version: int = 6,
        aliases: tuple[str, ...] = (),
    ) -> Path:
        writer = MMDBWriter(ip_version, database_type, ipv4_compatible=ip_version == 6)
        for network, record in networks.items():
            writer.insert_network(IPSet([network]), record)
        for network in aliases:
            _alias(writer, network)
        path, meta = tmp_path / name, writer._build_meta
        writer._build_meta = lambda: meta() | {"build_epoch": BUILD_EPOCH}  # not that of the clock
        writer.to_db_file(str(path))
        return path

    return make


@pytest.fixture(autouse=True)
def _no_collector_left_off() -> Iterator[None]:
    """Compiling pauses the garbage collector; it must be on again whatever happened."""
    yield
    assert gc.isenabled()
