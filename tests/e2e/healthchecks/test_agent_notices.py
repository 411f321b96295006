"""What agents say lowers trust and has probers look; it never makes a relay better."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from support.standin import Process, own_address, running
from support.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.database]
RARELY_S = 600
"""So that only a nudge can be why a prober looks within a test."""


@dataclass
class WatchedRelay:
    """A control plane, and one relay whose probers look rarely."""

    api: Any
    address: str
    folder: Path
    agent_token: str
    prober_token: str

    def relay(self) -> AbstractAsyncContextManager[Process]:
        return running(
            "relay",
            FIRSTHOP_RELAY_LISTEN=f"{self.address}:3478",
            FIRSTHOP_RELAY_METRICS=f"{self.address}:9154",
            FIRSTHOP_ROUTE_KEYS=str(self.api.state_dir / "route.keys"),
        )

    def agent(self, **more: str) -> AbstractAsyncContextManager[Process]:
        return running(
            "agent",
            FIRSTHOP_API_URL=self.api.url,
            FIRSTHOP_TOKEN=self.agent_token,
            FIRSTHOP_RELAY_ID="fra-1",
            FIRSTHOP_RELAY_METRICS_URL=f"http://{self.address}:9154/metrics",
            **more,
        )

    def prober(self) -> AbstractAsyncContextManager[Process]:
        return running(
            "prober",
            FIRSTHOP_API_URL=self.api.url,
            FIRSTHOP_TOKEN=self.prober_token,
            FIRSTHOP_PROBER_ID="p-1",
            FIRSTHOP_VANTAGE="lab",
            FIRSTHOP_STATE_DIR=str(self.folder / "prober"),
        )

    async def status(self) -> dict[str, Any]:
        return dict((await self.api.get("/v1/status")).body["relays"]["fra-1"])

    async def is_(self, **wanted: Any) -> bool:
        """Whether the status says just this of the relay."""
        return wanted.items() <= (await self.status()).items()


@pytest.fixture
async def field(api: Any, tmp_path: Path) -> AsyncIterator[WatchedRelay]:
    address = own_address()
    probe = {"interval_s": RARELY_S, "timeout_s": 0.5, "fall": 3, "rise": 2, "slow_start_s": 0}
    document = {
        "regions": [{"id": "fra", "latitude": 50.11, "longitude": 8.68}],
        "relays": [{"id": "fra-1", "region": "fra", "ipv4": address, "probe": probe}],
    }
    await api.made("/v1/changesets", {"document": document})
    agent, prober = await api.token_of("agent", "fra-1"), await api.token_of("prober", "lab")
    return WatchedRelay(api, address, tmp_path, agent, prober)


async def test_a_crash_is_told_by_the_agent_and_looked_into_by_probers(field: WatchedRelay) -> None:
    """Both long before the next check would come; and the return as well."""
    async with field.agent() as agent, field.prober():
        async with field.relay() as relay:
            await relay.said("relay.listening")
            await eventually(lambda: field.is_(verdict="up", crashed=False), "it is up")
            relay.send(signal.SIGKILL)
            await eventually(lambda: field.is_(crashed=True), "the agent says that it is gone")
            await eventually(lambda: field.is_(verdict="down"), "probers have looked")
            await agent.said("relay.crashed")
        async with field.relay():
            await eventually(lambda: field.is_(crashed=False), "the agent says that it is back")
            # Its probers may have been nudged less than five seconds ago; silence nudges again.
            agent.send(signal.SIGKILL)
            await eventually(lambda: field.is_(verdict="up"), "probers have looked again")


async def test_the_silence_of_an_agent_is_looked_into_and_is_no_verdict(
    field: WatchedRelay,
) -> None:
    """The relay lives, so it stays up; when it is dead too, it is down soon."""
    async with field.prober(), field.relay() as relay, field.agent() as agent:
        await eventually(lambda: field.is_(verdict="up", sessions=0), "both are heard")
        relay.send(signal.SIGSTOP)
        agent.send(signal.SIGKILL)
        await eventually(lambda: field.is_(verdict="down"), "a stopped relay is found down")
        relay.send(signal.SIGCONT)


async def test_an_agent_that_lies_raises_nothing(field: WatchedRelay) -> None:
    """Probes find nobody; whatever is said beside them, the verdict stays."""
    await field.api.patch("/v1/relays/fra-1", {"probe": {"interval_s": 0.5}})
    async with field.prober():
        await eventually(lambda: field.is_(verdict="down"), "nobody is there")
        for sequence in range(1, 6):
            report = {"sequence": sequence, "sent_at": datetime.now(UTC).isoformat(), "cpu": 0.0}
            path = "/v1/relays/fra-1/reports"
            said = await field.api.call("POST", path, report, token=field.agent_token)
            assert said.status == 204
            assert await field.is_(verdict="down")
            again = await field.api.call("POST", path, report, token=field.agent_token)
            assert (again.status, again.rules) == (409, {"sequence": "is not newer"})


async def test_a_stop_is_announced(field: WatchedRelay) -> None:
    """SIGTERM of an agent with a grace: no new sessions, and when it ends."""
    async with field.relay(), field.agent(FIRSTHOP_AGENT_GRACE_S="30") as agent:
        await eventually(lambda: field.is_(draining=False, sessions=0), "it is heard")
        agent.send(signal.SIGTERM)
        assert await agent.ended() == 0
        assert await field.is_(draining=True)
        stops_at = datetime.fromisoformat((await field.status())["stops_at"])
        assert 0 < (stops_at - datetime.now(UTC)).total_seconds() <= 30


async def test_targets_are_waited_for(field: WatchedRelay) -> None:
    """304 while nothing changes; the answer comes when something does."""
    path = "/v1/probes/targets"
    first = await field.api.get(path, token=field.prober_token)
    seen = {"If-None-Match": first.headers["ETag"]}
    same = await field.api.get(f"{path}?wait=0.1", token=field.prober_token, headers=seen)
    assert same.status == 304
    waiting = asyncio.create_task(
        field.api.get(f"{path}?wait=25", token=field.prober_token, headers=seen)
    )
    report = {"sequence": 1, "sent_at": datetime.now(UTC).isoformat(), "crashed": True}
    said = await field.api.call("POST", "/v1/relays/fra-1/reports", report, token=field.agent_token)
    assert said.status == 204
    async with asyncio.timeout(120):
        changed = await waiting
    assert changed.status == 200
    assert changed.body["targets"][0]["nudge"] > first.body["targets"][0]["nudge"] == 0
    assert changed.headers["ETag"] != first.headers["ETag"]
