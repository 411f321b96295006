"""What an agent takes over of the round trips that its relay measured."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from aiohttp import ClientError, ClientSession

from firsthop_healthchecks.agent.round_trips import RelayRoundTrips
from firsthop_steering.feed.sample_queue import OLDEST_S, SampleRow, SampleUploadQueue

NOW = datetime(2026, 11, 24, 12, 0, 0, 654321, tzinfo=UTC)


class Board(SampleUploadQueue):
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.noted: list[SampleRow] = []

    def note(self, rows: Any) -> None:
        self.noted.extend(rows)

    @property
    def round_trips(self) -> list[tuple[str, float]]:
        assert {each.relay for each in self.noted} <= {"fra-1"}
        return [(each.client, each.rtt_ms) for each in self.noted]


class MeasuringRelay:
    """A relay that answers what is newer."""

    def __init__(self) -> None:
        self.now = NOW
        self.rows: list[Any] = []
        self.board = Board()
        self.agent = RelayRoundTrips(
            "fra-1", "http://relay/samples", cast(ClientSession, self), board=self.board,
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


async def test_every_round_trip_is_taken_once() -> None:
    """However finely the relay's clock counts; and nothing where there is nothing new."""
    world = MeasuringRelay()
    await world.agent.read()
    world.measured(12.5)
    world.measured(14.0, "2001:db8:1::/48")
    await world.agent.read()
    await world.agent.read()
    assert world.board.round_trips == [("192.0.2.0", 12.5), ("2001:db8:1::", 14.0)]


async def test_what_is_too_old_is_not_taken() -> None:
    """The control plane would refuse it."""
    world = MeasuringRelay()
    world.measured(1.0)
    world.now = NOW + timedelta(seconds=OLDEST_S + 5)
    world.measured(2.0)
    await world.agent.read()
    assert [rtt_ms for _, rtt_ms in world.board.round_trips] == [2.0]


async def test_a_relay_of_another_make_says_nothing() -> None:
    """Nor does nonsense in one row cost the others."""
    world = MeasuringRelay()
    for odd in ("x", -1, 10_000, None):
        world.measured(odd)
    world.rows.append({"at": world.now.timestamp() + 2})
    world.measured(3.0, after_s=3.0)
    await world.agent.read()
    assert [rtt_ms for _, rtt_ms in world.board.round_trips] == [3.0]

    class Dead(MeasuringRelay):
        @asynccontextmanager
        async def get(self, _: str, *, params: Any, **__: Any) -> AsyncIterator[Any]:
            raise ClientError("404")
            yield

    dead = Dead()
    await dead.agent.read()
    assert dead.board.noted == []
