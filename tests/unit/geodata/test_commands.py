"""`firsthop geodata`: what it prints, and one clear line with exit code 2 when it cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from firsthop.commands.geodata import app

MakeMmdb = Callable[..., Path]
VARIABLES = ("FIRSTHOP_GEOIP_CITY", "FIRSTHOP_GEOIP_ASN", "GEOIPUPDATE_DB_DIR")


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FIRSTHOP_STATE_DIR", str(tmp_path / "state"))
    return monkeypatch


def test_lookup_in_the_bundled_database(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All that is known, in words and as JSON; the table is kept under the state folder."""
    result = CliRunner().invoke(app, ["lookup", "8.8.8.8"])
    assert result.exit_code == 0
    assert "US" in result.stdout
    assert "bundled" in result.stdout
    assert list((tmp_path / "state" / "geodata").glob("geo-*.fhg"))
    answer = json.loads(CliRunner().invoke(app, ["lookup", "2002:808:808::1", "--json"]).stdout)
    assert (answer["country"], answer["continent"], answer["asn"]) == ("US", "NA", None)
    assert answer["network"].startswith("2002:")
    answer = json.loads(CliRunner().invoke(app, ["lookup", "10.0.0.1", "--json"]).stdout)
    assert answer["cell"] is answer["country"] is answer["latitude"] is None


def test_lookup_in_other_databases(environment: pytest.MonkeyPatch, make_mmdb: MakeMmdb) -> None:
    """The databases that the environment names are used and named."""
    record = {"country": {"iso_code": "FR"}, "location": {"latitude": 48.9, "longitude": 2.3}}
    city = make_mmdb({"1.0.0.0/8": record | {"city": {"names": {"en": "Paris"}}}})
    asns = {"1.2.0.0/16": {"autonomous_system_number": 64500}}
    asn = make_mmdb(asns, name="asn.mmdb", database_type="GeoLite2-ASN")
    environment.setenv("FIRSTHOP_GEOIP_CITY", str(city))
    environment.setenv("FIRSTHOP_GEOIP_ASN", str(asn))
    answer = json.loads(CliRunner().invoke(app, ["lookup", "1.2.3.4", "--json"]).stdout)
    assert answer == {
        "address": "1.2.3.4",
        "network": "1.2.0.0/16",
        "cell": 0,
        "country": "FR",
        "continent": "EU",
        "latitude": 48.9,
        "longitude": 2.3,
        "place": "Paris",
        "asn": 64500,
        "database": str(city),
        "database_type": "Test-City",
        "asn_database": str(asn),
    }


def test_faults_are_one_line(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No traceback: the file or variable and the rule on stderr, exit code 2."""
    broken = tmp_path / "broken.mmdb"
    broken.write_bytes(b"rubbish")
    cases: list[tuple[list[str], dict[str, str], str]] = [
        (["lookup", "300.1.1.1"], {}, "not an IP address"),
        (["lookup", "1.1.1.1"], {"FIRSTHOP_GEOIP_CITY": str(broken)}, "broken.mmdb"),
        (["lookup", "1.1.1.1"], {"FIRSTHOP_GEOIP_ASN": "/nowhere"}, "/nowhere"),
        (["update"], {"GEOIPUPDATE_ACCOUNT_ID": ""}, "GEOIPUPDATE_ACCOUNT_ID"),
    ]
    for arguments, variables, text in cases:
        result = CliRunner().invoke(app, arguments, env=variables)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert result.stderr.count("\n") == 1
        assert text in result.stderr


def test_update_reports_each_edition(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An edition that cannot be fetched is named, the old file is said to stay, exit code 2."""
    (tmp_path / "GeoLite2-City.mmdb").write_bytes(b"old")
    variables = {
        "GEOIPUPDATE_ACCOUNT_ID": "1",
        "GEOIPUPDATE_LICENSE_KEY": "k",
        "GEOIPUPDATE_EDITION_IDS": "GeoLite2-City",
        "GEOIPUPDATE_HOST": "http://127.0.0.1:1",
    }
    result = CliRunner().invoke(app, ["update", "--directory", str(tmp_path)], env=variables)
    assert result.exit_code == 2
    assert "GeoLite2-City: " in result.stderr
    assert "the old file stays" in result.stderr
