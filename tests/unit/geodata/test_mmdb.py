"""MaxMind databases compiled: every tree shape, the fallbacks, refusals, the cache."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import maxminddb
import numpy as np
import pytest

from firsthop_geodata.centres import country_centres
from firsthop_geodata.mmdb import compile_mmdb, open_geodata, verify_mmdb
from firsthop_geodata.prefixes import NO_CELL, GeodataError, GeoTable
from firsthop_geodata.search_tree import decode_nodes

MakeMmdb = Callable[..., Path]
ALIASES = ("::ffff:0:0/96", "2002::/16", "2001::/32", "64:ff9b::/96")


def place(country: str, latitude: float, longitude: float, city: str = "") -> dict[str, Any]:
    """A GeoIP2 City record."""
    record: dict[str, Any] = {
        "continent": {"code": "EU", "names": {"en": "Europe"}},
        "country": {"iso_code": country, "names": {"en": country}},
        "location": {"latitude": latitude, "longitude": longitude},
    }
    return record | ({"city": {"names": {"en": city}}} if city else {})


BERLIN, PARIS, ROME = (
    place("DE", 52.5, 13.4, "Berlin"),
    place("FR", 48.9, 2.3, "Paris"),
    place("IT", 41.9, 12.5, "Rome"),
)
NETWORKS = {
    "1.0.0.0/8": BERLIN,
    "1.2.0.0/16": PARIS,
    "1.2.3.4/32": ROME,
    "255.255.255.255/32": ROME,
    "2001:db8::/32": PARIS,
    "2001:db8:1::/48": BERLIN,
    "2a00::/12": ROME,
}


def country(table: GeoTable, address: str) -> str | None:
    cell = table.locate(ip_address(address)).cell
    return cell.country if cell else None


def test_city_database(make_mmdb: MakeMmdb, tmp_path: Path) -> None:
    """Cells are deduplicated, sorted and complete; networks nest; NO_CELL fills the rest."""
    table = compile_mmdb(make_mmdb(NETWORKS, aliases=ALIASES), None, tmp_path / "t.fhg")
    assert table.countries == ["DE", "FR", "IT"]
    assert table.names == ["Berlin", "Paris", "Rome"]
    assert table.continents == ["EU"] * 3
    assert table.database_type == "Test-City"
    answers = {
        "1.1.1.1": "DE",
        "1.2.1.1": "FR",
        "1.2.3.3": "FR",
        "1.2.3.4": "IT",
        "1.2.3.5": "FR",
        "2.0.0.0": None,
        "0.255.255.255": None,
        "255.255.255.255": "IT",
        "255.255.255.254": None,
        "2001:db8::1": "FR",
        "2001:db8:1::1": "DE",
        "2001:db8:2::1": "FR",
        "2a0f:ffff::": "IT",
        "2a10::": None,
        "::ffff:1.2.3.4": "IT",
        "2002:102:304::": "IT",
        "64:ff9b::102:304": "IT",
        "::1.2.3.4": None,
    }
    assert {address: country(table, address) for address in answers} == answers
    assert str(table.locate(ip_address("1.2.3.5")).network) == "1.2.3.5/32"
    assert str(table.locate(ip_address("1.3.0.0")).network) == "1.3.0.0/16"


def test_aliases_of_the_ipv4_tree_are_not_walked(make_mmdb: MakeMmdb, tmp_path: Path) -> None:
    """A database with aliases (or copies) of the IPv4 tree compiles to the very same table."""
    plain = compile_mmdb(make_mmdb(NETWORKS), None, tmp_path / "plain.fhg")
    aliased = make_mmdb(NETWORKS, aliases=ALIASES, name="aliased.mmdb")
    assert compile_mmdb(aliased, None, tmp_path / "aliased.fhg").digest == plain.digest
    copied = NETWORKS | {"::ffff:1.0.0.0/104": BERLIN, "2002:102::/32": PARIS}
    copy = make_mmdb(copied, name="copy.mmdb")
    assert compile_mmdb(copy, None, tmp_path / "copy.fhg").digest == plain.digest


def test_records_deeper_than_64_fold_to_the_first(make_mmdb: MakeMmdb, tmp_path: Path) -> None:
    """Keys end at /64, so the first record inside a /64 speaks for it."""
    networks = {
        "2001:db8:0:1:8000::/65": PARIS,
        "2001:db8:0:1:4000::/66": BERLIN,
        "2001:db8:0:2::5/128": ROME,
        "2001:db8:0:3::/64": BERLIN,
        "1.0.0.0/8": ROME,
    }
    table = compile_mmdb(make_mmdb(networks), None, tmp_path / "t.fhg")
    answers = {"0": None, "1": "DE", "2": "IT", "3": "DE", "4": None}
    assert {key: country(table, f"2001:db8:0:{key}::") for key in answers} == answers
    assert country(table, "::1") is None


@pytest.mark.parametrize("records", [10, 6000, 60000])
def test_the_walk_agrees_with_maxminddb(make_mmdb: MakeMmdb, tmp_path: Path, records: int) -> None:
    """Random networks at every depth: each address has the record maxminddb finds."""
    chance = random.Random(records)
    networks: dict[str, Any] = {}
    blocks = [(chance.getrandbits(32), chance.randrange(1, 33)) for _ in range(150)]
    for value, length in sorted(blocks, key=lambda block: block[1]):
        networks[str(ip_network((value, length), strict=False))] = None
    wide = [(0x2A << 120 | chance.getrandbits(120), chance.randrange(9, 65)) for _ in range(150)]
    for value, length in sorted(wide, key=lambda block: block[1]):
        networks[str(ip_network((value, length), strict=False))] = None
    for number, network in enumerate(networks):
        networks[network] = place("DE", 1 + number / 100, 2.0, "x" * (records // 300))
    path = make_mmdb(networks, aliases=ALIASES)
    table = compile_mmdb(path, None, tmp_path / "t.fhg")
    with maxminddb.open_database(path) as reader:
        addresses = [ip_network(network)[0] for network in networks]
        addresses += [ip_network(network)[-1] for network in networks]
        addresses += [IPv4Address(chance.getrandbits(32)) for _ in range(500)]
        addresses += [IPv6Address(0x2A << 120 | chance.getrandbits(120)) for _ in range(500)]
        for address in addresses:
            record: Any = reader.get(address)
            cell = table.locate(address).cell
            expected = record["location"]["latitude"] if record else None
            assert (cell.latitude if cell else None) == expected


@pytest.mark.parametrize("size", [24, 28, 32])
def test_every_record_size(size: int) -> None:
    """Nodes of 24, 28 and 32 bits decode to the numbers that were encoded."""
    chance = random.Random(size)
    pairs = [[chance.getrandbits(size) for _ in range(2)] for _ in range(50)]
    raw = b""
    for left, right in pairs:
        if size == 28:
            middle = left >> 24 << 4 | right >> 24
            parts = (left & 0xFFFFFF, 3), (middle, 1), (right & 0xFFFFFF, 3)
            raw += b"".join(value.to_bytes(width, "big") for value, width in parts)
        else:
            raw += left.to_bytes(size // 8, "big") + right.to_bytes(size // 8, "big")
    nodes = decode_nodes(np.frombuffer(raw, np.uint8).reshape(50, size // 4), size)
    assert nodes.tolist() == pairs


def test_ipv4_only_and_whole_space(make_mmdb: MakeMmdb, tmp_path: Path) -> None:
    """A database of IP version 4 has no IPv6 answers; one record may cover everything."""
    path = make_mmdb({"1.0.0.0/8": BERLIN}, ip_version=4)
    table = compile_mmdb(path, None, tmp_path / "t.fhg")
    assert (country(table, "1.2.3.4"), country(table, "::ffff:1.2.3.4")) == ("DE", "DE")
    assert (table.v6_starts.tolist(), table.v6_cells.tolist()) == ([0], [NO_CELL])
    path = make_mmdb({"::/1": BERLIN, "8000::/1": PARIS}, name="all.mmdb")
    table = compile_mmdb(path, None, tmp_path / "all.fhg")
    assert country(table, "9.9.9.9") == country(table, "2a00::") == "DE"
    assert country(table, "fe80::1") == "FR"
    assert table.v4_starts.tolist() == [0]


def test_nothing_is_at_zero_zero(make_mmdb: MakeMmdb, tmp_path: Path) -> None:
    """(0, 0) and missing coordinates give the country's centre, else no cell at all."""
    networks = {
        "1.0.0.0/8": place("DE", 0.0, 0.0, "Berlin"),
        "2.0.0.0/8": {"country": {"iso_code": "FR"}},
        "3.0.0.0/8": {"location": {"latitude": 0.0, "longitude": 0.0}},
        "4.0.0.0/8": {"registered_country": {"iso_code": "jp"}},
        "5.0.0.0/8": place("DE", 0.0, 13.0),
        "6.0.0.0/8": {"country": {"iso_code": "-"}, "location": {"latitude": 1.0}},
        "7.0.0.0/8": place("DE", -0.0, -0.0),
        "8.0.0.0/8": {"location": {"latitude": 10.0, "longitude": 20.0}},
        "9.0.0.0/8": {"country": {"iso_code": "ZZ"}},
        "10.0.0.0/8": {},
    }
    table = compile_mmdb(make_mmdb(networks), None, tmp_path / "t.fhg")
    found = {number: table.locate(ip_address(f"{number}.1.1.1")).cell for number in range(1, 11)}
    centres = country_centres()
    for number, code in {1: "DE", 2: "FR", 4: "JP", 7: "DE"}.items():
        cell = found[number]
        assert cell is not None
        assert (cell.latitude, cell.longitude) == (centres[code].latitude, centres[code].longitude)
        assert (cell.country, cell.continent) == (code, centres[code].continent)
    assert found[1] is not None
    assert found[3] is found[6] is found[9] is found[10] is None
    assert found[5] is not None
    assert (found[5].latitude, found[5].longitude) == (0.0, 13.0)
    assert found[8] is not None
    assert (found[8].country, found[8].continent, found[8].latitude) == ("", "", 10.0)


def test_a_continent_is_known_without_its_country(make_mmdb: MakeMmdb, tmp_path: Path) -> None:
    """Who holds addresses does not move them to another continent; overrides for it match."""
    europe = {"continent": {"code": "EU"}}
    networks = {
        "1.0.0.0/8": europe | {"registered_country": {"iso_code": "US"}},
        "2.0.0.0/8": europe | {"registered_country": {"iso_code": "DE"}},
        "3.0.0.0/8": europe,
        "4.0.0.0/8": {"registered_country": {"iso_code": "US"}},
        "5.0.0.0/8": {"continent": {"code": "XX"}},
        "6.0.0.0/8": europe | {"country": {"iso_code": "US"}},
    }
    path = make_mmdb(networks, database_type="GeoLite2-Country")
    table = compile_mmdb(path, None, tmp_path / "t.fhg")
    cells = [table.locate(ip_address(f"{number}.1.1.1")).cell for number in range(1, 7)]
    found = [(cell.country, cell.continent) if cell else None for cell in cells]
    assert found == [("", "EU"), ("DE", "EU"), ("", "EU"), ("US", "NA"), None, ("US", "EU")]
    prague = country_centres()["CZ"]
    assert cells[0] is not None
    assert (cells[0].latitude, cells[0].longitude) == (prague.latitude, prague.longitude)
    assert cells[0] == cells[2]


def test_country_database(make_mmdb: MakeMmdb, tmp_path: Path) -> None:
    """Country records have no location: addresses are at the country's centre."""
    networks = {"1.0.0.0/8": {"country": {"iso_code": "BR"}}, "2a00::/12": {}}
    path = make_mmdb(networks, database_type="GeoLite2-Country")
    table = compile_mmdb(path, None, tmp_path / "t.fhg")
    cell = table.locate(ip_address("1.2.3.4")).cell
    assert cell is not None
    assert (cell.country, cell.continent, cell.latitude < 0) == ("BR", "SA", True)
    assert country(table, "2a00::1") is None


def test_as_numbers(make_mmdb: MakeMmdb, tmp_path: Path) -> None:
    """AS numbers beside cells; networks are cut by both."""
    asns = {"1.0.0.0/8": {"autonomous_system_number": 64500}, "1.2.0.0/15": {}}
    asns["2a00::/16"] = {"autonomous_system_number": 2**32 - 1}
    asn = make_mmdb(asns, name="asn.mmdb", database_type="GeoLite2-ASN")
    table = compile_mmdb(make_mmdb(NETWORKS), asn, tmp_path / "t.fhg")
    found = {text: table.locate(ip_address(text)) for text in ("1.1.1.1", "1.3.0.1", "2a00::1")}
    assert [location.asn for location in found.values()] == [64500, 0, 2**32 - 1]
    assert [str(location.network) for location in found.values()] == [
        "1.0.0.0/15",
        "1.3.0.0/16",
        "2a00::/16",
    ]
    assert table.find_asn(4, 0) == 0
    assert verify_mmdb(asn) == "GeoLite2-ASN"


FLAT = {"1.0.0.0/8": {"country_code": "DE", "latitude": "52.5", "longitude": "13.4"}}
REFUSALS: dict[str, tuple[dict[str, Any], str, str]] = {
    "another kind": (NETWORKS, "GeoIP2-Domain", "database_type 'GeoIP2-Domain'"),
    "flat": (FLAT, "Flat-City", "no record with a GeoIP2-shaped country"),
    "flat country": ({"1.0.0.0/8": {"country": "DE"}}, "Flat-Country", "not GeoIP2-shaped"),
    "flat city": ({"1.0.0.0/8": BERLIN | {"city": "Berlin"}}, "Flat-City", "not GeoIP2-shaped"),
    "not a map": ({"1.0.0.0/8": "DE"}, "Test-City", "Expected record to be a dict"),
    "empty": ({"1.0.0.0/8": {}}, "Test-City", "no record with a GeoIP2-shaped country"),
    "text": ({"1.0.0.0/8": place("DE", "x", 1.0)}, "Test-City", "not on the globe"),  # type: ignore[arg-type]
    "off": ({"1.0.0.0/8": place("DE", 90.5, 1.0)}, "Test-City", "not on the globe"),
    "nan": ({"1.0.0.0/8": place("DE", float("nan"), 1.0)}, "Test-City", "not on the globe"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_foreign_databases_are_refused(make_mmdb: MakeMmdb, tmp_path: Path, case: str) -> None:
    """One line naming file and rule; what was compiled before stays in use."""
    networks, database_type, rule = REFUSALS[case]
    out = tmp_path / "t.fhg"
    old = compile_mmdb(make_mmdb(NETWORKS, name="old.mmdb"), None, out)
    path = make_mmdb(networks, database_type=database_type, name="foreign.mmdb")
    with pytest.raises(GeodataError) as refused:
        compile_mmdb(path, None, out)
    assert str(refused.value).startswith(str(path))
    assert rule in str(refused.value)
    assert "\n" not in str(refused.value)
    assert GeoTable.open(out).digest == old.digest
    assert country(old, "1.1.1.1") == "DE"


def test_foreign_as_databases_are_refused(make_mmdb: MakeMmdb, tmp_path: Path) -> None:
    """A city database is no ASN database, nor the other way round, and numbers are numbers."""
    city = make_mmdb(NETWORKS)
    for record in ("AS64500", -1, 2**32):
        networks = {"1.0.0.0/8": {"autonomous_system_number": record}}
        asn = make_mmdb(networks, name="asn.mmdb", database_type="GeoLite2-ASN")
        with pytest.raises(GeodataError, match=r"asn\.mmdb: has the AS number"):
            compile_mmdb(city, asn, tmp_path / "t.fhg")
    with pytest.raises(GeodataError, match="names no ASN database"):
        compile_mmdb(city, city, tmp_path / "t.fhg")
    with pytest.raises(GeodataError, match="names no City"):
        compile_mmdb(asn, None, tmp_path / "t.fhg")
    for missing in (tmp_path / "none.mmdb", tmp_path):
        with pytest.raises(GeodataError, match="cannot be read"):
            compile_mmdb(missing, None, tmp_path / "t.fhg")
    assert not (tmp_path / "t.fhg").exists()


def test_damaged_databases(make_mmdb: MakeMmdb, tmp_path: Path) -> None:
    """Truncated anywhere or with bits flipped: a table or a GeodataError, no other exception."""
    networks = NETWORKS | {f"{n}.0.0.0/9": place("FR", n / 7, -n / 3) for n in range(20, 90)}
    whole = make_mmdb(networks, aliases=ALIASES).read_bytes()
    path, chance = tmp_path / "damaged.mmdb", random.Random(3)
    refused = 0
    for attempt in range(200):
        content = bytearray(whole)
        if attempt % 4 == 0:
            del content[chance.randrange(len(whole)) :]
        else:
            for _ in range(chance.choice((1, 1, 2, 20))):
                content[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        try:
            table = compile_mmdb(path, None, tmp_path / "t.fhg")
        except GeodataError:
            refused += 1
        else:
            assert not np.any((table.latitudes == 0) & (table.longitudes == 0))
            table.close()
    assert refused > 50


def test_trees_with_loops_are_refused(make_mmdb: MakeMmdb, tmp_path: Path) -> None:
    """A node that leads back to the root ends in an error, soon and without eating memory."""
    path = make_mmdb({"8000::/1": BERLIN, "1.0.0.0/8": PARIS})
    content = bytearray(path.read_bytes())
    content[3:6] = bytes(3)
    path.write_bytes(content)
    with pytest.raises(GeodataError, match="loops"):
        compile_mmdb(path, None, tmp_path / "t.fhg")


def test_cache_is_used_verified_and_mended(make_mmdb: MakeMmdb, tmp_path: Path) -> None:
    """Compiled once; the file is reused, made anew when damaged, and another for other input."""
    city, cache = make_mmdb(NETWORKS), tmp_path / "state" / "geodata"
    first = open_geodata(city, None, cache)
    (compiled,) = cache.glob("geo-*.fhg")
    made = compiled.stat().st_mtime_ns
    assert open_geodata(city, None, cache).digest == first.digest
    assert compiled.stat().st_mtime_ns == made
    content = bytearray(compiled.read_bytes())
    content[200] ^= 1
    compiled.unlink()
    compiled.write_bytes(content)
    assert open_geodata(city, None, cache).digest == first.digest
    assert country(first, "1.1.1.1") == "DE"
    city = make_mmdb(NETWORKS | {"9.0.0.0/8": ROME})
    assert open_geodata(city, None, cache).digest != first.digest
    assert len(list(cache.glob("geo-*.fhg"))) == 2
    assert {entry.suffix for entry in cache.iterdir()} == {".fhg", ".lock"}


def test_a_corrupt_replacement_leaves_the_old_table(make_mmdb: MakeMmdb, tmp_path: Path) -> None:
    """The database is replaced by rubbish: refused by name, and the open table still answers."""
    city, cache = make_mmdb(NETWORKS), tmp_path / "cache"
    table = open_geodata(city, None, cache)
    city.write_bytes(city.read_bytes()[:100])
    with pytest.raises(GeodataError, match=r"test\.mmdb: "):
        open_geodata(city, None, cache)
    assert country(table, "1.2.3.4") == "IT"
    assert len(list(cache.glob("geo-*.fhg"))) == 1
    with pytest.raises(GeodataError, match=r"none\.mmdb: cannot be read"):
        open_geodata(tmp_path / "none.mmdb", None, cache)
    (tmp_path / "file").write_text("")
    with pytest.raises(GeodataError, match="cannot"):
        open_geodata(None, None, tmp_path / "file")


def _open_in_child(cache: Path, barrier: Any, answers: Any) -> None:
    barrier.wait(60)
    table = open_geodata(None, None, cache)
    (compiled,) = cache.glob("geo-*.fhg")
    answers.put((table.digest, compiled.stat().st_ino))


def test_several_processes_at_once(tmp_path: Path) -> None:
    """Four processes with an empty cache compile once and get that table; nothing is left over."""
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(4), context.Queue()
    children = [
        context.Process(target=_open_in_child, args=(tmp_path, barrier, answers)) for _ in range(4)
    ]
    for child in children:
        child.start()
    found = {answers.get(timeout=60) for _ in children}
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert len(found) == 1
    assert sorted(entry.suffix for entry in tmp_path.iterdir()) == [".fhg", ".lock"]
