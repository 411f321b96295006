"""An agent measures whom an operator named, and its control plane learns of that prefix."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from firsthop.controlplane.explaining import Explainer
from firsthop_healthchecks.probes.icmp import no_ping_sockets
from firsthop_healthchecks.representatives.rota import LEAST_GAP_S, Rota
from standin import own_address, running

pytestmark = [pytest.mark.e2e, pytest.mark.database]
PORT = 7000
SOON_S = (6.0, 12.0)
"""After the start: an agent is up by then, and nobody waits for a whole round."""
DOCUMENT = {
    "regions": [{"id": "fra", "latitude": 50.11, "longitude": 8.68}],
    "relays": [{"id": "fra-1", "region": "fra", "ipv4": "127.0.10.1"}],
}


def soon_due() -> str:
    """A loopback address whose place in the round comes soon."""
    for address in (own_address() for _ in itertools.count()):
        now = time.time()
        rota = Rota([f"fra-1 {address}"], every_s=LEAST_GAP_S, now=now, wall_s=now)
        if SOON_S[0] < rota.next_at() - now < SOON_S[1]:
            return address
    raise AssertionError("unreachable")


@asynccontextmanager
async def listener(address: str) -> AsyncIterator[list[str]]:
    """Takes connections, and says from whom."""
    callers: list[str] = []

    def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(writer.get_extra_info("peername")[0])
        writer.close()

    server = await asyncio.start_server(take, address, PORT)
    try:
        yield callers
    finally:
        server.close()


@pytest.fixture
async def deployed(start_api: Any, tmp_path: Path, until: Any) -> Any:
    """A control plane that learns, and one relay."""
    explainer = Explainer(None, None, tmp_path / "geodata")
    api = await start_api(explain=explainer, geo=explainer.geo, learn_interval_s=0.2)
    await api.made("/v1/changesets", {"document": DOCUMENT})

    async def takes() -> bool:
        return bool((await api.get("/v1/latency?client=192.0.2.1")).status != 503)

    await until(takes, "what was learned before is read")
    return api


async def test_a_named_host_is_measured_and_learned_of(
    deployed: Any, until: Any, tmp_path: Path
) -> None:
    """By TCP, in three tries, as the relay's; where echo requests are not allowed that is said."""
    address, listing = soon_due(), tmp_path / "representatives"
    listing.write_text(f"# agreed\n{address} check=tcp:{PORT}\n127.0.0.1\n")
    token = await deployed.token_of("agent", "fra-1")
    async with (
        listener(address) as callers,
        running(
            "agent",
            FIRSTHOP_API_URL=deployed.url,
            FIRSTHOP_TOKEN=token,
            FIRSTHOP_RELAY_ID="fra-1",
            FIRSTHOP_REPRESENTATIVES=str(listing),
            FIRSTHOP_REPRESENTATIVES_INTERVAL_S=str(LEAST_GAP_S),
        ) as agent,
    ):
        if no_ping_sockets(4) is not None:
            await agent.said("echo.unavailable")
        await agent.said("representatives")

        async def learned() -> Any:
            answer = await deployed.get(f"/v1/latency?client={address}")
            told = {each["region"]: each for each in answer.body.get("regions", [])}
            return answer.body if told.get("fra", {}).get("samples") else None

        found = await until(learned, "the prefix is learned of", 2 * LEAST_GAP_S)
        assert found["prefix"] == str(ip_network(f"{address}/24", strict=False))
        assert found["regions"][0]["samples"] == pytest.approx(1.0, abs=0.01)
        assert len(callers) == 3


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"10.0.0.1", "line 2: 10.0.0.1 is private or special-purpose"),
        (b"\xff\xfe", "line 2: not UTF-8"),
    ],
)
async def test_a_line_that_is_wrong_is_named_at_the_start(
    tmp_path: Path, line: bytes, rule: str
) -> None:
    """And nobody is measured."""
    listing = tmp_path / "representatives"
    listing.write_bytes(b"8.8.8.8\n" + line + b"\n")
    async with running(
        "agent",
        *("--representatives", str(listing)),
        FIRSTHOP_API_URL="http://127.0.0.1:9",
        FIRSTHOP_TOKEN="token",
        FIRSTHOP_RELAY_ID="fra-1",
        COLUMNS="300",
    ) as agent:
        assert await agent.ended() == 2
    assert rule in agent.log
    assert "--representatives" in agent.log
