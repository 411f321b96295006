"""Every kind of probe from the admin API through the database to a prober."""

from __future__ import annotations

from typing import Any

import pytest

from firsthop_steering.feed.reports import ProbeTargets

pytestmark = pytest.mark.database
PROBES: dict[str, dict[str, Any]] = {
    "fra-1": {"kind": "tls", "host": "a.example", "verify": True, "min_valid_days": 14},
    "fra-2": {"kind": "https", "port": 8443, "path": "/live", "expect_body": "größer"},
    "fra-3": {"kind": "dns", "dns_name": "a.example."},
    "fra-4": {"kind": "icmp", "interval_s": 5.0},
}
PORTS = {"fra-1": 443, "fra-2": 8443, "fra-3": 53, "fra-4": 446}


async def test_a_probe_comes_to_the_prober_as_it_was_written(api: Any) -> None:
    relays = [
        {"id": name, "region": "fra", "ipv4": "127.0.10.1", "udp_port": 3478 + number,
         "tcp_port": 443 + number, "probe": probe}
        for number, (name, probe) in enumerate(PROBES.items())
    ]  # fmt: skip
    regions = [{"id": "fra", "latitude": 50.11, "longitude": 8.68}]
    await api.made("/v1/changesets", {"document": {"regions": regions, "relays": relays}})
    secret = await api.token_of("prober")
    body = (await api.get("/v1/probes/targets", token=secret)).body
    targets = ProbeTargets.model_validate(body).targets
    assert [each.relay for each in targets] == list(PROBES)
    assert {each.relay: each.port for each in targets} == PORTS
    for each in targets:
        written = PROBES[each.relay]
        assert {name: getattr(each, name) for name in written} == written
    stored = (await api.get("/v1/relays/fra-2")).body["probe"]
    assert {name: stored[name] for name in PROBES["fra-2"]} == PROBES["fra-2"]


async def test_a_field_of_another_kind_is_refused_by_name(api: Any) -> None:
    """And the relay stays as it was."""
    await api.made("/v1/regions", {"id": "fra", "latitude": 50.11, "longitude": 8.68})
    await api.made("/v1/relays", {"id": "fra-1", "region": "fra", "ipv4": "127.0.10.1"})
    refused = await api.patch("/v1/relays/fra-1", {"probe": {"expect_body": "ok"}})
    assert refused.status == 422
    assert "expect_body" in str(refused.body)
    assert "only to http, https" in str(refused.body)
    changed = await api.patch(
        "/v1/relays/fra-1", {"probe": {"kind": "dns", "dns_name": "A.example"}}
    )
    assert (changed.status, changed.body["probe"]["dns_name"]) == (200, "a.example.")
