"""A real relay with one of its two addresses bound: from the prober to the status, apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.deployment import free_port
from support.standin import own_address, running
from support.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.database]
REGIONS = [{"id": "fra", "latitude": 50.11, "longitude": 8.68}]


@pytest.mark.parametrize("bound", ["ipv4", "ipv6"])
async def test_the_address_that_is_not_bound_is_down_and_the_relay_is_up(
    api: Any, tmp_path: Path, bound: str
) -> None:
    ipv4, port = own_address(), free_port("127.0.0.1")
    listen = f"{ipv4}:{port}" if bound == "ipv4" else f"[::1]:{port}"
    relay = {
        "id": "fra-1",
        "region": "fra",
        "ipv4": ipv4,
        "ipv6": "::1",
        "udp_port": port,
        "probe": {"interval_s": 0.2, "timeout_s": 0.5},
    }
    await api.made("/v1/changesets", {"document": {"regions": REGIONS, "relays": [relay]}})
    prober = running(
        "prober",
        FIRSTHOP_API_URL=api.url,
        FIRSTHOP_TOKEN=await api.token_of("prober", "lab"),
        FIRSTHOP_PROBER_ID="p-1",
        FIRSTHOP_VANTAGE="lab",
        FIRSTHOP_STATE_DIR=str(tmp_path / "prober"),
    )
    keys = str(api.state_dir / "route.keys")
    relaying = running("relay", FIRSTHOP_RELAY_LISTEN=listen, FIRSTHOP_ROUTE_KEYS=keys)
    families = {"ipv4": "down", "ipv6": "down"} | {bound: "up"}

    async def told() -> Any:
        found = (await api.get("/v1/status")).body["relays"]["fra-1"]
        return found if found["families"] == families else None

    async with relaying, prober:
        status = await eventually(told, f"a status with {families}")
    assert status["verdict"] == "up"
    assert status["vantages"]["lab"]["families"] == families
    other = "ipv6" if bound == "ipv4" else "ipv4"
    assert status["reason"].startswith(
        f"{other}: down at 1 of 1 vantages (lab: no answer in 0.5 s)"
    )


async def test_only_the_families_of_the_probe_are_targets(api: Any) -> None:
    """Each address with a credential of its own."""
    relays = [
        {"id": "fra-1", "region": "fra", "ipv4": "127.0.10.1", "ipv6": "::1"},
        {"id": "fra-2", "region": "fra", "ipv4": "127.0.10.2", "ipv6": "2001:db8::2",
         "probe": {"families": ["ipv6"]}},
    ]  # fmt: skip
    await api.made("/v1/changesets", {"document": {"regions": REGIONS, "relays": relays}})
    targets = (await api.get("/v1/probes/targets")).body["targets"]
    assert [(each["relay"], each["family"], each["address"]) for each in targets] == [
        ("fra-1", "ipv4", "127.0.10.1"),
        ("fra-1", "ipv6", "::1"),
        ("fra-2", "ipv6", "2001:db8::2"),
    ]
    assert len({each["ufrag"] for each in targets}) == 3
