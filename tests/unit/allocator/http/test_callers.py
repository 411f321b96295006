"""Tokens, subjects, CORS, settings and counters."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from multidict import CIMultiDict

from firsthop_allocator.allocations.state import Holder
from firsthop_allocator.errors import AllocatorError, Problem
from firsthop_allocator.http import openapi
from firsthop_allocator.http.callers import RequestClient, cors_headers, has_token, subject_of
from firsthop_allocator.http.counts import BOUNDS_S, AllocatorCollector, AllocatorCounters
from firsthop_allocator.settings import AllocatorSettings
from support.allocator_world import state_of
from support.worlds import NOW


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


SETTINGS = AllocatorSettings(token_digests=frozenset([digest("one"), digest("two")]))
PUBLIC = AllocatorSettings(public=True, trusted_proxies=(ip_network("10.0.0.0/8"),))


def bears(*lines: str, settings: AllocatorSettings = SETTINGS, **tokens: Any) -> bool:
    headers = CIMultiDict(("authorization", line) for line in lines)
    return has_token(headers, settings, {digest(name): end for name, end in tokens.items()}, NOW)


def status_of(*lines: str, settings: AllocatorSettings = SETTINGS, **tokens: Any) -> int:
    with pytest.raises(Problem) as caught:
        bears(*lines, settings=settings, **tokens)
    if caught.value.status == 401:
        assert caught.value.headers["WWW-Authenticate"].startswith("Bearer")
    return caught.value.status


def test_accepted_tokens() -> None:
    """Of the settings and of the snapshot; the scheme's case does not matter."""
    assert bears("Bearer one")
    assert bears("bEARER  two ")
    assert bears("Bearer three", three=None)
    assert bears("Bearer three", three=NOW + timedelta(seconds=1))


@pytest.mark.parametrize(
    "lines",
    [
        (), ("Bearer",), ("Bearer ",), ("Bearer onee",), ("Basic one",), ("one",), ("Bearer One",),
        ("Bearer one two",), ("Bearer\tone",), ("Bearer \udcff\udcfe",), ("",),
        ("Bearer " + digest("one"),),
    ],
)  # fmt: skip
def test_everything_else_is_401(lines: tuple[str, ...]) -> None:
    """The digest is no token, nor are odd octets an accident."""
    assert status_of(*lines) == 401


def test_expired_tokens_and_two_at_once() -> None:
    """At its expiry a token is over; two header lines are ambiguous."""
    assert status_of("Bearer three", three=NOW) == 401
    assert status_of("Bearer one", "Bearer two") == 400


def test_a_public_allocator_takes_none_but_no_wrong_one() -> None:
    """Whoever believes to have a token must learn that it has none."""
    assert bears(settings=PUBLIC) is False
    assert status_of("Bearer wrong", settings=PUBLIC) == 401
    assert status_of("Bearer ", settings=AllocatorSettings(public=True)) == 401


def test_whom_it_is_for() -> None:
    """client_ip needs the token; proxies need to be ours; a bare socket has no name."""
    wanted = ip_address("192.0.2.1")
    none: CIMultiDict[str] = CIMultiDict()
    forged = CIMultiDict([("X-Forwarded-For", "198.51.100.1"), ("Forwarded", "for=198.51.100.1")])
    assert subject_of(forged, "10.0.0.1", wanted, PUBLIC, trusted=True) == RequestClient(
        wanted, "client_ip"
    )
    with pytest.raises(Problem) as caught:
        subject_of(none, "203.0.113.9", wanted, PUBLIC, trusted=False)
    assert caught.value.status == 403
    assert caught.value.faults[0].field == "client_ip"
    stranger = subject_of(forged, "203.0.113.9", None, PUBLIC, trusted=False)
    assert stranger == RequestClient(ip_address("203.0.113.9"), "peer")
    behind = subject_of(forged, "::ffff:10.0.0.1", None, PUBLIC, trusted=False)
    assert behind == RequestClient(ip_address("198.51.100.1"), "forwarded")
    for headers, peer, status in ((none, "", 422), (CIMultiDict(Forwarded="x"), "10.0.0.1", 400)):
        with pytest.raises(Problem) as caught:
            subject_of(headers, peer, None, PUBLIC, trusted=False)
        assert caught.value.status == status


def test_cors() -> None:
    """Only origins that are named, and never more than the one that asks."""
    one = AllocatorSettings(cors_origins=("https://app.example", "https://b.example"))
    allowed = cors_headers("https://app.example", one)
    assert allowed["Access-Control-Allow-Origin"] == "https://app.example"
    assert allowed["Vary"] == "Origin"
    for origin in (None, "null", "https://app.example.evil", "https://APP.example", ""):
        assert cors_headers(origin, one) == {"Vary": "Origin"}
    everybody = cors_headers("https://x", AllocatorSettings(cors_origins=("*",)))
    assert everybody["Access-Control-Allow-Origin"] == "*"
    assert cors_headers("https://app.example", AllocatorSettings()) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"token_digests": frozenset(["one"])},
        {"token_digests": frozenset([digest("one").upper()])},
        {"token_digests": frozenset([digest("one") + "\n"])},
        {"cors_origins": ("https://app.example/",)},
        {"cors_origins": ("app.example",)},
        {"cors_origins": ("https://a\r\nX: y",)},
    ],
)
def test_wrong_settings_are_refused_at_the_start(wrong: dict[str, Any]) -> None:
    """The error names the setting."""
    with pytest.raises(AllocatorError, match=next(iter(wrong))):
        AllocatorSettings(**wrong)


def test_counters_add_up() -> None:
    """Cumulative buckets, a label set for each outcome, ages of both snapshots."""
    counts, holder = AllocatorCounters(), Holder()
    counts.requests["/v1/allocations", 201] += 2
    counts.allocations["relay", "fra", "allocated"] += 2
    counts.observe(BOUNDS_S[0])
    counts.observe(5.0)
    collector = AllocatorCollector(counts, holder, lambda: NOW + timedelta(seconds=9))
    before = {metric.name for metric in collector.collect()}
    assert "firsthop_snapshot_age_seconds" not in before
    holder.state = state_of()
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in collector.collect()
        for sample in metric.samples
    }
    assert samples["firsthop_allocator_requests_total", "/v1/allocations", "201"] == 2
    assert samples["firsthop_allocations_total", "relay", "fra", "allocated"] == 2
    assert samples["firsthop_allocation_duration_seconds_bucket", str(BOUNDS_S[0])] == 1
    assert samples["firsthop_allocation_duration_seconds_bucket", "1.0"] == 1
    assert samples["firsthop_allocation_duration_seconds_bucket", "+Inf"] == 2
    assert samples["firsthop_allocation_duration_seconds_count",] == 2
    assert samples["firsthop_snapshot_age_seconds", "plan"] == 9
    assert samples["firsthop_snapshot_number", "status"] == 7


def test_every_reference_of_the_openapi_document_leads_somewhere() -> None:
    """And every path says what it gives."""
    document = openapi.document()
    text = json.dumps(document)
    names = {each.split('"')[0] for each in text.split("#/components/schemas/")[1:]}
    assert names <= set(document["components"]["schemas"])
    assert document["openapi"] == "3.1.0"
    body = document["components"]["schemas"]["AllocationBody"]
    assert set(body["properties"]) == {
        "service", "client_ip", "ttl", "transceiver_region", "exclude_relays",
    }  # fmt: skip
    assert body["additionalProperties"] is False
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["responses"]
