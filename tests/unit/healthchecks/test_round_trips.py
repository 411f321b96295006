"""What an agent passes on of the round trips that its relay measured."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from aiohttp import ClientError, ClientSession

from firsthop_healthchecks.controlplane import ControlPlaneError
from firsthop_healthchecks.round_trips import OLDEST_S, RoundTrips
from firsthop_steering.measurements import SampleBatch

NOW = datetime(2026, 11, 24, 12, 0, 0, 654321, tzinfo=UTC)


class World:
    """A relay that answers what is newer, and a control plane that may be away."""

    def __init__(self) -> None:
        self.now = NOW
        self.rows: list[Any] = []
        self.away = False
        self.sent: list[SampleBatch] = []
        self.agent = RoundTrips(
            "fra-1", "http://relay/samples", cast(ClientSession, self), control_plane=self,
            wall=lambda: self.now,
        )  # fmt: skip

    def measured(self, rtt_ms: Any, client: str = "192.0.2.0/24", *, after_s: float = 1.0) -> None:
        at = self.now.timestamp() + after_s + 1e-7 * len(self.rows)
        self.rows.append({"client": client, "rtt_ms": rtt_ms, "at": at})

    @asynccontextmanager
    async def get(self, _: str, *, params: Any, **__: Any) -> AsyncIterator[Any]:
        since = float(params["since"])

        class Response:
            def raise_for_status(self) -> None: ...

            async def json(_) -> Any:  # noqa: N805
                return {"samples": [row for row in self.rows if row["at"] > since]}

        yield Response()

    async def send_samples(self, batch: SampleBatch) -> None:
        self.sent.append(batch)
        if self.away:
            raise ControlPlaneError("away")


async def test_every_round_trip_is_told_once() -> None:
    """However finely the relay's clock counts; and nothing where there is nothing new."""
    world = World()
    await world.agent.tell()
    world.measured(12.5)
    world.measured(14.0, "2001:db8:1::/48")
    await world.agent.tell()
    await world.agent.tell()
    (batch,) = world.sent
    assert [(each.relay, each.rtt_ms) for each in batch.samples] == [
        ("fra-1", 12.5), ("fra-1", 14.0),
    ]  # fmt: skip


async def test_what_was_not_taken_is_told_again_under_its_name() -> None:
    """What came meanwhile is told after it."""
    world = World()
    world.away = True
    world.measured(1.0)
    with pytest.raises(ControlPlaneError):
        await world.agent.tell()
    world.measured(2.0, after_s=3.0)
    world.away = False
    await world.agent.tell()
    await world.agent.tell()
    lost, again, rest = world.sent
    assert lost == again
    assert [each.rtt_ms for each in rest.samples] == [2.0]


async def test_what_is_too_old_is_not_told_for_ever() -> None:
    """The control plane would refuse it each time."""
    world = World()
    world.away = True
    world.measured(1.0)
    with pytest.raises(ControlPlaneError):
        await world.agent.tell()
    world.away, world.now = False, NOW + timedelta(seconds=OLDEST_S + 5)
    world.measured(2.0)
    await world.agent.tell()
    assert [each.rtt_ms for each in world.sent[-1].samples] == [2.0]


async def test_a_relay_of_another_make_says_nothing() -> None:
    """Nor does nonsense in one row cost the others."""
    world = World()
    for odd in ("x", -1, 10_000, None):
        world.measured(odd)
    world.rows.append({"at": world.now.timestamp() + 2})
    world.measured(3.0, after_s=3.0)
    await world.agent.tell()
    assert [each.rtt_ms for each in world.sent[0].samples] == [3.0]

    class Dead(World):
        @asynccontextmanager
        async def get(self, _: str, *, params: Any, **__: Any) -> AsyncIterator[Any]:
            raise ClientError("404")
            yield

    dead = Dead()
    await dead.agent.tell()
    assert dead.sent == []
