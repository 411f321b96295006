"""The packed table: round trip, look-ups against a naive model, networks, damaged files."""

from __future__ import annotations

import random
import stat
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firsthop_geodata.container import write_sections
from firsthop_geodata.prefixes import NO_CELL, Cell, GeodataError, GeoTable, normalise, write_table

CELLS = (
    Cell(50.11, 8.68, "DE", "EU", "Frankfurt"),
    Cell(-33.9, 151.2, "AU", "OC", "Sydney"),
    Cell(0.0, 32.5, "UG", "AF", "Entebbe"),
)
values = st.sampled_from([0, 1, 2, NO_CELL])


def ranges(bits: int, value: st.SearchStrategy[int]) -> st.SearchStrategy[dict[int, int]]:
    """Range starts to values, 0 among them; starts crowd round edges and embedded blocks."""
    edges = [1, 255, 2 ** (bits - 1), 2**bits - 1]
    if bits == 64:
        edges += [0x2002 << 48, 0x2003 << 48, 0x0064FF9B << 32, 0x20010DB8 << 32]
    start = st.integers(0, 2**bits - 1) | st.sampled_from(edges)
    return st.dictionaries(start, value, max_size=12).flatmap(
        lambda found: value.map(lambda first: {0: first} | found)
    )


def write(path: Path, v4: Any, v6: Any, v4_asn: Any = None, v6_asn: Any = None) -> GeoTable:
    def columns(found: dict[int, int] | None) -> tuple[list[int], list[int]]:
        found = found or {0: 0}
        return sorted(found), [found[start] for start in sorted(found)]

    write_table(
        path,
        cells=CELLS,
        v4=columns(v4),
        v6=columns(v6),
        v4_asn=columns(v4_asn),
        v6_asn=columns(v6_asn),
        database_type="Test-City",
        build_epoch=7,
    )
    return GeoTable.open(path)


def naive(found: dict[int, int], key: int) -> int:
    return found[max(start for start in found if start <= key)]


@pytest.fixture
def table(tmp_path: Path) -> GeoTable:
    v4 = {0: NO_CELL, 0x0A000000: 0, 0x0A000080: 1, 0x0A000100: 1, 0x0B000000: NO_CELL}
    v6 = {0: NO_CELL, 0x20010DB8 << 32: 2, 0x20010DB9 << 32: NO_CELL}
    return write(tmp_path / "t.fhg", v4, v6, {0: 0, 0x0A000000: 64500, 0x0A000040: 64501})


def test_round_trip(table: GeoTable) -> None:
    """What was written is what is read, with neighbours of one value merged."""
    assert [table.cell(number) for number in range(3)] == list(CELLS)
    assert len(table) == 3
    assert table.countries == ["DE", "AU", "UG"]
    assert table.continents == ["EU", "OC", "AF"]
    assert table.names == ["Frankfurt", "Sydney", "Entebbe"]
    assert table.latitudes.dtype == np.float64
    assert table.v4_starts.tolist() == [0, 0x0A000000, 0x0A000080, 0x0B000000]
    assert table.v4_cells.tolist() == [NO_CELL, 0, 1, NO_CELL]
    assert table.v4_starts.dtype == np.dtype(np.uint32)
    assert table.v6_starts.dtype == np.dtype(np.uint64)
    assert (table.database_type, table.build_epoch) == ("Test-City", 7)
    assert not table.v4_cells.flags.writeable
    for wrong in (-1, 3, NO_CELL):
        with pytest.raises(IndexError):
            table.cell(wrong)


def test_same_content_same_bytes(tmp_path: Path) -> None:
    """The digest names the content: equal tables are equal files."""
    one = write(tmp_path / "a", {0: 0}, {0: 1})
    two = write(tmp_path / "b", {0: 0, 9: 0}, {0: 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert one.digest == two.digest
    assert write(tmp_path / "c", {0: 1}, {0: 1}).digest != one.digest
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), ranges(32, values), ranges(64, values), ranges(32, st.integers(0, 3)))
def test_look_ups_agree_with_a_naive_model(
    tmp_path: Path,
    data: st.DataObject,
    v4: dict[int, int],
    v6: dict[int, int],
    v4_asn: dict[int, int],
) -> None:
    """Cell, ASN and network of any address, in any form, against a scan of all ranges.

    The network holds the address, has one answer throughout, and is the widest such block.
    """
    table = write(tmp_path / "t.fhg", v4, v6, v4_asn)
    near = st.sampled_from(sorted(v4) + sorted(v4_asn))
    v4_key = data.draw(st.integers(0, 2**32 - 1) | near)
    v6_key = data.draw(st.integers(0, 2**64 - 1) | st.sampled_from(sorted(v6)))
    forms: list[IPv4Address | IPv6Address] = [
        IPv4Address(v4_key),
        IPv6Address(0xFFFF << 32 | v4_key),
        IPv6Address(0x2002 << 112 | v4_key << 80 | 5),
        IPv6Address(v6_key << 64 | data.draw(st.sampled_from([0, 1, 0xFFFFFFFFFFFF, 2**64 - 1]))),
    ]
    for address in forms:
        family, key, _ = normalise(address)
        cell = naive(v4 if family == 4 else v6, key)
        asn = naive(v4_asn, key) if family == 4 else 0
        found = table.locate(address)
        assert (table.find_cell(family, key), table.find_asn(family, key)) == (cell, asn)
        assert found.cell_id == (None if cell == NO_CELL else cell)
        assert found.cell == (None if cell == NO_CELL else CELLS[cell])
        assert found.asn == asn
        assert address in found.network
        assert constant(table, found.network, v4, v6, v4_asn)
        if found.network.prefixlen:
            assert not constant(table, found.network.supernet(), v4, v6, v4_asn)
    table.close()


def constant(table: GeoTable, network: Any, *models: dict[int, int]) -> bool:
    """Whether all addresses of the network have one answer and one family, tried at all edges."""
    ends = {int(network[0]), int(network[-1])}
    v4, v6, v4_asn = models
    for start in [*v4, *v4_asn]:
        for value in (
            start,
            0xFFFF << 32 | start,
            0x2002 << 112 | start << 80,
            0x64FF9B << 96 | start,
        ):
            ends |= {value, value - 1}
    ends |= {start << 64 for start in v6} | {(start << 64) - 1 for start in v6}
    edges = (0x2002 << 112, 0x2003 << 112, 0xFFFF << 32, 0x10000 << 32, 0x64FF9B << 96)
    ends |= {*edges, (0x64FF9B << 96) + 2**32}
    kind = IPv4Address if network.version == 4 else IPv6Address
    inside = [kind(end) for end in ends if int(network[0]) <= end <= int(network[-1])]
    answers = set()
    for address in inside:
        family, key, bits = normalise(address)
        answers.add((family, bits, table.find_cell(family, key), table.find_asn(family, key)))
    return len(answers) == 1


def test_networks(table: GeoTable) -> None:
    """Networks by hand: cut by cells, by ASNs, by embedded blocks, and in the asker's family."""
    cases = {
        "10.0.0.1": "10.0.0.0/26",
        "10.0.0.70": "10.0.0.64/26",
        "10.0.0.200": "10.0.0.128/25",
        "10.77.0.1": "10.64.0.0/10",
        "200.1.1.1": "128.0.0.0/1",
        "::ffff:10.0.0.1": "::ffff:10.0.0.0/122",
        "2002:a00:1::1": "2002:a00:0::/42",
        "2001:db8:7::1": "2001:db8::/32",
        "4000::1": "4000::/2",
        "2003::1": "2003::/16",
        "::1": "::/81",
        "::fffe:0:0": "::fffe:0:0/96",
    }
    assert {text: str(table.locate(ip_address(text)).network) for text in cases} == {
        text: str(ip_network(network)) for text, network in cases.items()
    }


def test_close_leaves_arrays_handed_out(table: GeoTable) -> None:
    """An array taken before close stays readable; closing twice is harmless."""
    starts = table.v4_starts
    table.close()
    table.close()
    assert starts[1] == 0x0A000000


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"v4": ([1], [0])}, "begin at 0"),
        ({"v4": ([], [])}, "begin at 0"),
        ({"v4": ([0, 5, 5], [0, 1, 2])}, "not sorted"),
        ({"v4": ([0, 9, 5], [0, 1, 2])}, "not sorted"),
        ({"v6": ([0], [3])}, "missing cell"),
        ({"cells": [Cell(0.0, 0.0, "", "")]}, "(0, 0)"),
        ({"cells": [Cell(91.0, 0.0, "", "")]}, "off the globe"),
        ({"cells": [Cell(float("nan"), 0.0, "", "")]}, "off the globe"),
    ],
)
def test_broken_content_is_not_written(tmp_path: Path, change: dict[str, Any], rule: str) -> None:
    """A table that breaks an invariant is refused, and the file that is there stays."""
    path = tmp_path / "t.fhg"
    before = write(path, {0: 1}, {0: 1}).digest
    arguments: dict[str, Any] = {"cells": CELLS, "v4": ([0], [0])} | change
    with pytest.raises(GeodataError, match=r"t\.fhg: ") as refused:
        write_table(path, **arguments)
    assert rule in str(refused.value)
    assert GeoTable.open(path).digest == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.fhg"]


def test_foreign_files_are_refused(tmp_path: Path, table: GeoTable) -> None:
    """Each refusal names the file and the rule."""
    path, whole = tmp_path / "x.fhg", (tmp_path / "t.fhg").read_bytes()
    cases = {
        b"": "cannot be mapped",
        b"hello": "magic bytes differ",
        b"\0" * 4096: "magic bytes differ",
        whole[:8] + b"\x63" + whole[9:]: "format version 99",
        whole[:-1]: "truncated",
        whole + b"\0": "truncated or padded",
        whole[:-1] + bytes([whole[-1] ^ 1]): "SHA-256",
    }
    for content, rule in cases.items():
        path.write_bytes(content)
        with pytest.raises(GeodataError) as refused:
            GeoTable.open(path)
        assert rule in str(refused.value)
        assert str(path) in str(refused.value)
    for missing in (tmp_path / "none.fhg", tmp_path):
        with pytest.raises(GeodataError, match="cannot be mapped"):
            GeoTable.open(missing)
    write_sections(path, {"hello": b"world"})
    with pytest.raises(GeodataError, match="holds no geo table"):
        GeoTable.open(path)
    assert table.locate(ip_address("10.0.0.1")).cell_id == 0


def test_damage_anywhere_is_noticed(tmp_path: Path, table: GeoTable) -> None:
    """Truncated or with any bit flipped: GeodataError, never another exception or answer."""
    whole, path = (tmp_path / "t.fhg").read_bytes(), tmp_path / "x.fhg"
    chance = random.Random(1)
    damaged = [whole[: chance.randrange(len(whole))] for _ in range(200)]
    for position in [*range(len(whole)), *(chance.randrange(len(whole)) for _ in range(300))]:
        flipped = bytearray(whole)
        flipped[position] ^= 1 << chance.randrange(8)
        damaged.append(bytes(flipped))
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(GeodataError):
            GeoTable.open(path)


def test_unwritable_places(tmp_path: Path) -> None:
    """No folder to write to: GeodataError naming the file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(GeodataError, match="cannot be written"):
        write(tmp_path / "file" / "t.fhg", {0: 0}, {0: 0})


def test_ranges_are_cut_where_the_cell_changes(tmp_path: Path) -> None:
    """From the first key of the space to its last, and the sizes of cells are what is in them."""
    cells = [Cell(1.0, 2.0, "DE", "EU"), Cell(3.0, 4.0, "BR", "SA"), Cell(5.0, 6.0, "BR", "SA")]
    write_table(
        tmp_path / "t",
        cells=cells,
        v4=([0, 16, 32, 48], [0, NO_CELL, 1, 0]),
        v6=([0, 1 << 63], [NO_CELL, 1]),
    )
    table = GeoTable.open(tmp_path / "t")
    last = 2**32 - 1
    firsts, lasts = (np.array(each, np.uint64) for each in ([0, 8, 40], [last, 33, last]))
    assert [*zip(*(each.tolist() for each in table.cut(4, firsts, lasts)), strict=True)] == [
        (0, 15, 0, 0), (16, 31, NO_CELL, 0), (32, 47, 1, 0), (48, last, 0, 0),
        (8, 15, 0, 1), (16, 31, NO_CELL, 1), (32, 33, 1, 1),
        (40, 47, 1, 2), (48, last, 0, 2),
    ]  # fmt: skip
    whole = np.array([0], np.uint64), np.array([2**64 - 1], np.uint64)
    assert [each.tolist() for each in table.cut(6, *whole)][:2] == [
        [0, 1 << 63], [(1 << 63) - 1, 2**64 - 1],
    ]  # fmt: skip
    assert table.v4_sizes.tolist() == [16 + 2**32 - 48, 16, 0]
    assert table.v6_sizes.tolist() == [0, 2**63, 0]
    assert table.country_codes[0] == ["BR", "DE"]
    assert table.country_codes[1].tolist() == [1, 0, 0]
    assert table.continent_codes[0] == ["EU", "SA"]
