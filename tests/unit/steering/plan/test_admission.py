"""What must not enter the configuration."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from firsthop_geodata.centres import country_centres
from firsthop_steering.plan.addresses import unusable
from firsthop_steering.plan.admission import admission_problems
from firsthop_steering.plan.countries import COUNTRIES
from firsthop_steering.plan.document import Document
from firsthop_zones.faults import DocumentFault

NEVER = [
    "169.254.169.254", "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.250", "255.255.255.255",
    "240.0.0.1", "::", "ff02::1", "fe80::1", "fe80::1%eth0", "2001:db8::1%eth0", "fec0::1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:8.8.8.8", "::127.0.0.1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1", "2001:0:1::1", "100::1",
]  # fmt: skip
LOOPBACK = ["127.0.0.1", "127.255.255.254", "::1"]
USABLE = [
    "8.8.8.8", "10.0.0.1", "172.30.0.11", "192.168.1.1", "100.64.0.1", "192.0.2.1", "198.51.100.1",
    "203.0.113.1", "198.18.0.1", "2001:db8::1", "fd00::1", "2606:4700::1111", "2001:200::1",
]  # fmt: skip


def test_addresses_that_no_client_could_use() -> None:
    """Special-purpose addresses are refused, loopback unless it is allowed; the others are not."""
    for allowed in (True, False):
        usable = [each for each in [*NEVER, *LOOPBACK, *USABLE] if not _why(each, allowed)]
        assert usable == [*(LOOPBACK if allowed else []), *USABLE]


def _why(address: str, allow_loopback: bool) -> str | None:
    return unusable(ip_address(address), allow_loopback=allow_loopback)


def problems(allow_loopback: bool = False, **parts: object) -> list[DocumentFault]:
    place = {"latitude": 0, "longitude": 0}
    regions = {
        "regions": [{"id": "fra", **place}],
        "transceiver_regions": [{"id": "eu", **place}],
    }
    document = Document.model_validate(regions | parts)
    return [*admission_problems(document, allow_loopback=allow_loopback)]


@pytest.mark.parametrize(
    ("field", "parts"),
    [
        ("relays/r/ipv4", {"relays": [{"id": "r", "region": "fra", "ipv4": "127.0.0.1"}]}),
        (
            "relays/r/ipv6",
            {"relays": [{"id": "r", "kind": "turn", "region": "fra", "ipv6": "::1"}]},
        ),
        (
            "transceivers/t/host",
            {"transceivers": [{"id": "t", "region": "eu", "host": "::1", "port": 1}]},
        ),
        (
            "transceivers/t/signalling_ipv4",
            {
                "transceivers": [
                    {"id": "t", "region": "eu", "host": "192.0.2.1", "port": 1}
                    | {"signalling_ipv4": "127.0.0.1", "signalling_ipv6": "2001:db8::1"}
                ]
            },
        ),
        (
            "services/s/fallback/1",
            {"services": [{"id": "s", "name": "s.", "fallback": ["192.0.2.1", "127.0.0.1"]}]},
        ),
    ],
)
def test_every_configured_address_counts(field: str, parts: dict[str, object]) -> None:
    """Relays, TURN servers, transceivers, their signalling, and fallbacks."""
    (problem,) = problems(**parts)
    assert problem.field == field
    assert problem.rule.endswith("it is loopback, which --allow-loopback permits")
    assert problems(True, **parts) == []


ESCAPE = "fra\x1b]0;owned\x07"


def test_names_and_notes_have_no_control_characters() -> None:
    """They would forge log lines, and command an operator's terminal."""
    relay = {"id": "r", "region": "fra", "ipv4": "192.0.2.1"}
    override = {"id": "o", "asn": 1, "regions": ["fra"], "mode": "only"}
    region = {"id": "fra", "latitude": 0, "longitude": 0}
    for field, parts in {
        "relays/r/failure_domain": {"relays": [relay | {"failure_domain": ESCAPE}]},
        "relays/r/forced/note": {"relays": [relay | {"forced": {"verdict": "up", "note": ESCAPE}}]},
        "overrides/o/note": {"overrides": [override | {"note": "\u202egnp.exe"}]},
        "regions/fra/name": {"regions": [region | {"name": "Frankfurt\nrelay.crashed relay=x"}]},
    }.items():
        assert [each.field for each in problems(**parts)] == [field]
    assert problems(overrides=[override | {"note": "two\nlines\tساڵ\u200cها"}]) == []


@pytest.mark.parametrize(
    ("code", "hint"), [("UK", "did you mean GB"), ("ZZ", "no country"), ("EU", "continent: EU")]
)
def test_countries_exist(code: str, hint: str) -> None:
    """An override for a code that no geo record has would match nobody, in silence."""
    override = {"id": "o", "country": code, "regions": ["fra"], "mode": "only"}
    (problem,) = problems(overrides=[override])
    assert (problem.field, hint in problem.rule) == ("overrides/o/country", True)
    assert problems(overrides=[override | {"country": "NO"}]) == []


def test_countries_of_geo_data_are_known() -> None:
    """Each that has a centre; the two others have no city."""
    assert COUNTRIES - country_centres().keys() == {"BV", "HM"}
    assert country_centres().keys() <= COUNTRIES


def test_a_fault_is_one_line_without_control_characters() -> None:
    """Its field may be an unknown key, whose text anybody chose."""
    fault = DocumentFault("regions/0/\x1b[2J\nok", "names no region: \x9b1m", 3)
    assert str(fault) == r"line 3: regions/0/\x1b[2J\nok: names no region: \x9b1m"
