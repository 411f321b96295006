"""The committed default database: real addresses, readable by geoip2, built reproducibly."""

from __future__ import annotations

from bisect import bisect_right
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import geoip2.database
import numpy as np
import pytest

from firsthop_geodata.bundled import bundled_database
from firsthop_geodata.centres import country_centres
from firsthop_geodata.mmdb import open_geodata
from firsthop_geodata.prefixes import NO_CELL, GeodataError, GeoTable

KNOWN = {
    # Large, long-held blocks, by the registries' own records; at least two a continent.
    "8.8.8.8": ("US", "NA"),
    "1.1.1.1": ("AU", "OC"),
    "132.246.1.1": ("CA", "NA"),  # National Research Council Canada
    "132.248.1.1": ("MX", "NA"),  # UNAM
    "143.107.1.1": ("BR", "SA"),  # Universidade de São Paulo
    "200.89.70.1": ("CL", "SA"),  # Universidad de Chile
    "170.210.1.1": ("AR", "SA"),  # RIU
    "193.99.144.80": ("DE", "EU"),  # Heise
    "129.132.1.1": ("CH", "EU"),  # ETH Zürich
    "193.0.6.139": ("NL", "EU"),  # RIPE NCC
    "212.58.244.1": ("GB", "EU"),  # BBC
    "133.11.1.1": ("JP", "AS"),  # University of Tokyo
    "202.112.0.1": ("CN", "AS"),  # CERNET
    "203.252.1.1": ("KR", "AS"),
    "155.69.1.1": ("SG", "AS"),  # NTU
    "137.158.1.1": ("ZA", "AF"),  # University of Cape Town
    "197.210.1.1": ("NG", "AF"),  # MTN Nigeria
    "197.248.1.1": ("KE", "AF"),  # Safaricom
    "41.33.1.1": ("EG", "AF"),  # TE Data
    "130.216.1.1": ("NZ", "OC"),  # University of Auckland
    "144.6.1.1": ("AU", "OC"),
    "2001:4860:4860::8888": ("US", "NA"),
    "2001:67c:2e8:22::c100:68b": ("NL", "EU"),  # RIPE NCC
    "2001:200::1": ("JP", "AS"),  # WIDE
    "2001:638::1": ("DE", "EU"),  # DFN
    "2001:12ff::1": ("BR", "SA"),  # NIC.br
    "2001:4200::1": ("ZA", "AF"),  # TENET
    "2001:dd8:8::1": ("AU", "OC"),  # APNIC
}
UNLOCATED: tuple[str, ...] = (
    "0.0.0.0",
    "10.1.2.3",
    "127.0.0.1",
    "192.168.1.1",
    "169.254.1.1",
    "224.0.0.1",
)
UNLOCATED += ("255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "ff02::1", "2001:db8::1")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> GeoTable:
    return open_geodata(None, None, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def mmdb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundled") / "bundled.mmdb"
    path.write_bytes(bundled_database())
    return path


@pytest.mark.parametrize("address", KNOWN)
def test_known_addresses(table: GeoTable, mmdb: Path, address: str) -> None:
    """The table and geoip2 itself put well-known addresses in their country."""
    location = table.locate(ip_address(address))
    assert location.cell is not None
    assert (location.cell.country, location.cell.continent) == KNOWN[address]
    assert ip_address(address) in location.network
    with geoip2.database.Reader(mmdb) as reader:
        city, country = reader.city(address), reader.country(address)
    assert (city.country.iso_code, city.continent.code) == KNOWN[address]
    assert country.country.iso_code == KNOWN[address][0]
    assert country.country.name
    assert city.city.name == location.cell.name
    assert (city.location.latitude, city.location.longitude) == (
        location.cell.latitude,
        location.cell.longitude,
    )
    assert city.location.accuracy_radius


@pytest.mark.parametrize("address", UNLOCATED)
def test_special_addresses_are_nowhere(table: GeoTable, address: str) -> None:
    """Private, local, multicast and documentation addresses have no place."""
    assert table.locate(ip_address(address)).cell_id is None


def test_every_cell_is_sound(table: GeoTable) -> None:
    """Every delegated country has its own position on land we know of, none at (0, 0)."""
    centres = country_centres()
    assert len(table) > 230
    assert len(set(table.countries)) == len(table)
    for number, code in enumerate(table.countries):
        cell = table.cell(number)
        assert cell.continent
        if code:  # "" is what registries delegate to "EU"
            assert (cell.latitude, cell.longitude) == (
                centres[code].latitude,
                centres[code].longitude,
            )
    for cells in (table.v4_cells, table.v6_cells):
        used = np.unique(cells)
        assert set(used.tolist()) - {NO_CELL} <= set(range(len(table)))
    assert set(np.unique(np.concatenate((table.v4_cells, table.v6_cells))).tolist()) >= set(
        range(len(table))
    )


def test_centres_are_where_people_live() -> None:
    """Spot checks, and no centre in the Gulf of Guinea or off the globe."""
    centres = country_centres()
    for code, latitude, longitude, within in [
        ("US", 40, -88, 5),
        ("RU", 56, 42, 5),
        ("AU", -34, 150, 4),
        ("CA", 44, -79, 3),
        ("NO", 60, 11, 2),
        ("FJ", -18, 178, 2),
    ]:
        assert abs(centres[code].latitude - latitude) <= within
        assert abs(centres[code].longitude - longitude) <= within
    for centre in centres.values():
        assert abs(centre.latitude) <= 90
        assert abs(centre.longitude) <= 180
        assert abs(centre.latitude) > 0.2 or abs(centre.longitude) > 5
        assert 1 <= centre.radius_km < 20_000


def test_builds_are_reproducible(tmp_path: Path) -> None:
    """Twice the same bytes from the same inputs, and the parts agree with the committed file."""
    builder = pytest.importorskip("firsthop_geodata.builder")
    reports = [
        builder.build_database(
            tmp_path / name, v4_blocks=[197], v6_blocks=[0x2C0F], processes=1, build_epoch=5
        )
        for name in ("one.mmdb", "two.mmdb.xz")
    ]
    assert reports[0].sha256 == reports[1].sha256
    assert reports[0].countries > 20
    with geoip2.database.Reader(tmp_path / "one.mmdb") as reader:
        assert reader.metadata().build_epoch == 5
        assert reader.city("197.210.1.1").country.iso_code == "NG"
    again = builder.build_database(
        tmp_path / "two.mmdb.xz", v4_blocks=[197], v6_blocks=[0x2C0F], processes=1, build_epoch=6
    )
    assert again.sha256 != reports[0].sha256


def test_small_delegations_are_seen() -> None:
    """Where a /24 was delegated in pieces, every single address is as the registries have it."""
    builder = pytest.importorskip("firsthop_geodata.builder")
    iptocc = pytest.importorskip("iptocc")
    runs = builder.scan_v4(193)
    first = int(IPv4Address("193.34.192.0"))
    expected = iptocc.country_code([str(IPv4Address(first + offset)) for offset in range(4096)])
    starts = [start for start, _, _ in runs]
    for offset, code in enumerate(expected):
        start, last, found = runs[bisect_right(starts, first + offset) - 1]
        assert (found if start <= first + offset <= last else None) == code
    assert any(start % 256 for start in starts)


def test_split_range_is_exact() -> None:
    """The blocks are aligned, touch one another and cover the range, to the very end of space."""
    builder = pytest.importorskip("firsthop_geodata.builder")
    for first, last in [(0, 2**32 - 1), (1, 6), (5, 5), (0, 2), (2**32 - 3, 2**32 - 1)]:
        at = first
        for value, length in builder.split_range(first, last, 32):
            assert value == at
            assert value % 2 ** (32 - length) == 0
            at += 2 ** (32 - length)
        assert at == last + 1


def test_codes_without_a_position_stop_the_build() -> None:
    """Every delegated code must have a position, or the build fails."""
    builder = pytest.importorskip("firsthop_geodata.builder")
    with pytest.raises(ValueError, match="ZZ"):
        builder.record("ZZ", country_centres(), next(iter(country_centres().values())))


def test_missing_or_damaged_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package without (or with a torn) database says so."""
    monkeypatch.setattr("firsthop_geodata.bundled.bundled_bytes", lambda: b"rubbish")
    with pytest.raises(GeodataError, match="corrupt"):
        bundled_database()
    monkeypatch.undo()
    monkeypatch.setattr("firsthop_geodata.bundled.BUNDLED_FILE", "none.xz")
    with pytest.raises(GeodataError, match="missing"):
        bundled_database()


def test_locating_is_total(table: GeoTable) -> None:
    """Any IPv4 address has an answer whose network is answered alike at both ends."""
    for value in range(0, 2**32, 2**32 // 2003):
        location = table.locate(IPv4Address(value))
        for end in (location.network[0], location.network[-1]):
            assert table.locate(end).cell_id == location.cell_id
