"""A probe's fields fit its kind, or the refusal names field and rule."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import yaml
from pydantic import ValidationError

from firsthop_steering.plan.document import load_yaml
from firsthop_steering.plan.model import Probe, ProbeKind, Relay

WHOLE: list[dict[str, Any]] = [
    {"kind": "stun"},
    {"kind": "tcp", "port": 443},
    {"kind": "tls", "port": 443, "host": "a.example", "verify": True, "min_valid_days": 14},
    {"kind": "http", "port": 80, "path": "/x", "expect_status": 204, "host": "a.example"},
    {"kind": "https", "port": 443, "expect_body": 'größer: "ok"\n', "verify": True},
    {"kind": "dns", "dns_name": "a.example."},
    {"kind": "icmp"},
    {"kind": "turn", "port": 3479},
    {"kind": "path", "transceiver_region": "eu"},
]


def test_every_kind_is_tried_here() -> None:
    assert [each["kind"] for each in WHOLE] == list(get_args(ProbeKind))


@pytest.mark.parametrize("fields", WHOLE, ids=[each["kind"] for each in WHOLE])
def test_each_kind_survives_a_document(fields: dict[str, Any]) -> None:
    """Export and apply give the same probe, and so does the JSON that the database keeps."""
    relay = {"id": "fra-1", "region": "fra", "ipv4": "192.0.2.1", "probe": fields}
    region = {"id": "fra", "latitude": 50, "longitude": 8}
    far = region | {"id": "eu"}
    text = yaml.safe_dump(
        {"regions": [region], "relays": [relay], "transceiver_regions": [far]}, allow_unicode=True
    )
    exported = yaml.safe_dump(load_yaml(text).model_dump(mode="json"))
    document = load_yaml(exported)
    assert document.relays[0].probe == Probe(**fields)
    assert Probe.model_validate(Probe(**fields).model_dump(mode="json")) == Probe(**fields)


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"kind": "tcp", "expect_body": "ok"}, "expect_body", "only to http, https"),
        (
            {"kind": "stun", "path": "/x"},
            "path",
            "does not apply to stun probes; only to http, https",
        ),
        ({"kind": "tls", "expect_status": 204}, "expect_status", "only to http, https"),
        ({"kind": "tcp", "host": "a.example"}, "host", "only to http, https, tls"),
        ({"kind": "http", "verify": True}, "verify", "only to tls, https"),
        ({"kind": "https", "min_valid_days": 1}, "min_valid_days", "only to tls"),
        ({"kind": "icmp", "port": 7}, "port", "does not apply to icmp probes"),
        ({"kind": "http", "dns_name": "a.example"}, "dns_name", "only to dns"),
        ({"kind": "dns"}, "dns_name", "needs a name to query"),
        ({"kind": "path"}, "transceiver_region", "needs a transceiver region"),
        ({"kind": "stun", "transceiver_region": "eu"}, "transceiver_region", "only to path"),
        ({"kind": "dns", "dns_name": "a..b"}, "dns_name", "must be a domain name"),
        ({"kind": "http", "expect_body": ""}, "expect_body", "at least 1 char"),
        ({"kind": "http", "expect_body": "x" * 1001}, "expect_body", "at most 1000 char"),
        ({"kind": "http", "host": "a\r\nb: c"}, "host", "match pattern"),
        ({"kind": "tls", "min_valid_days": -1}, "min_valid_days", "greater than or equal to 0"),
        ({"kind": "ftp"}, "kind", "Input should be 'stun', 'tcp', 'tls'"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_field(
    fields: dict[str, Any], field: str, rule: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Probe.model_validate(fields)
    faults = {fault["loc"][0]: fault["msg"] for fault in caught.value.errors()}
    assert set(faults) == {field}
    assert rule in faults[field]


def test_what_another_kind_reads_may_stand_at_its_default() -> None:
    """So a whole object, as the API gives it, can be sent back with another kind."""
    whole = Probe(kind="http").model_dump(mode="json")
    assert Probe.model_validate(whole | {"kind": "tcp"}).kind == "tcp"


def test_an_http_probe_may_accept_several_status_codes() -> None:
    fields = {"kind": "http", "port": 80, "expect_status": [200, 204, 301]}
    probe = Probe.model_validate(fields)
    assert probe.expect_status == (200, 204, 301)
    assert probe.model_dump(mode="json")["expect_status"] == [200, 204, 301]


@pytest.mark.parametrize("statuses", [[], [200, 99], 600, [600], "2xx", [200] * 21])
def test_status_codes_outside_http_are_refused(statuses: object) -> None:
    with pytest.raises(ValidationError, match="expect_status"):
        Probe.model_validate({"kind": "http", "port": 80, "expect_status": statuses})


@pytest.mark.parametrize("probe", [{"kind": "icmp"}, {"kind": "dns", "dns_name": "a.example"}])
def test_dns_and_icmp_need_no_tcp_port(probe: dict[str, Any]) -> None:
    fields = {"id": "a", "region": "b", "ipv4": "192.0.2.1", "probe": probe}
    assert Relay.model_validate(fields).probe.kind == probe["kind"]


@pytest.mark.parametrize("probe", [None, {}, {"kind": "stun", "fall": 5}, Probe(fall=5)])
def test_a_turn_server_is_probed_as_one(probe: Any) -> None:
    """It has no relay's key, so a stun probe would find it dead for ever."""
    fields = {"id": "fra-1", "region": "fra", "ipv4": "192.0.2.1", "kind": "turn"}
    relay = Relay.model_validate(fields if probe is None else {**fields, "probe": probe})
    assert relay.probe.kind == "turn"
    assert relay.probe.fall == (5 if probe else 3)
    other = Relay.model_validate({**fields, "probe": {"kind": "icmp"}})
    assert other.probe.kind == "icmp"
