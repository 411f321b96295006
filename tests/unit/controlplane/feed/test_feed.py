"""The feed: sealed once, newest only, in order, and nothing that a reader holds already."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firsthop_controlplane.feed import feed as feed_module
from firsthop_controlplane.feed.feed import RECENT, WHOLE_EVERY, Feed, ReaderState, Subscription
from firsthop_steering.feed.snapshot import (
    Delta,
    Latency,
    Plan,
    Prices,
    Snapshot,
    Status,
    kind_of,
    seal,
    unseal,
)
from firsthop_steering.plan.document import Document
from support.worlds import status_of

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
T0 = datetime(2026, 1, 1, tzinfo=UTC)


def _plan(number: int, lineage: str = "a") -> Plan:
    return Plan(number=number, lineage=lineage, created_at=T0, document=Document())


def _status(number: int) -> Status:
    return Status(number=number, lineage="a", created_at=T0)


def _read(lines: bytes) -> list[tuple[str, int]]:
    found = []
    for line in lines.splitlines():
        snapshot = unseal(line, KEY.public_key())
        assert isinstance(snapshot, Snapshot)
        found.append((kind_of(snapshot), snapshot.number))
    return found


async def test_a_slow_reader_gets_the_newest_of_each_kind_plan_first() -> None:
    """However much was published, two lines wait."""
    feed = Feed(KEY)
    with feed.subscribe(ReaderState()) as reader:
        for number in range(5):
            feed.publish(_status(number))
            feed.publish(_plan(number))
        assert _read(await reader.next(0)) == [("plan", 4), ("status", 4)]
        assert await reader.next(0) == b""
    assert feed.readers == 0


async def test_a_snapshot_is_sealed_once_for_all_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature costs once a change, not once a connection."""
    sealed: list[Any] = []

    def counting(snapshot: Snapshot, key: Ed25519PrivateKey) -> bytes:
        sealed.append(snapshot)
        return seal(snapshot, key)

    monkeypatch.setattr(feed_module, "seal", counting)
    feed = Feed(KEY)
    feed.publish(_plan(1))
    for _ in range(50):
        with feed.subscribe(ReaderState()) as reader:
            assert await reader.next(0)
    assert len(sealed) == 1


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (ReaderState(), True),
        (ReaderState("a", {}), True),
        (ReaderState("a", {"plan": 6}), True),
        (ReaderState("a", {"plan": 7}), False),
        (ReaderState("a", {"plan": 8}), False),
        (ReaderState("b", {"plan": 7}), True),
        (ReaderState(None, {"plan": 7}), True),
        (ReaderState("a", {"status": 7}), True),
    ],
)
async def test_numbers_count_within_their_lineage(held: ReaderState, told: bool) -> None:
    """What a reader holds, or what it would refuse, is not sent."""
    feed = Feed(KEY)
    feed.publish(_plan(7))
    with feed.subscribe(held) as reader:
        assert (await reader.next(0) != b"") is told


async def test_prices_and_latency_go_to_who_asks_for_them() -> None:
    """Once, after what is urgent, only the newest; a reader of an older release is spared them."""
    feed = Feed(KEY)
    latency = Latency(number=1, lineage="a", created_at=T0)
    with (
        feed.subscribe(ReaderState()) as old,
        feed.subscribe(ReaderState(), kinds=["prices", "latency", "tides"]) as new,
        feed.subscribe(ReaderState("a", {"latency": 2}), kinds=["latency"]) as one,
    ):
        for number in (1, 2):
            feed.publish(latency.model_copy(update={"number": number}))
            feed.publish(Prices(number=number, lineage="a", created_at=T0))
        feed.publish(_plan(1))
        feed.publish(_status(1))
        assert _read(await old.next(0)) == [("plan", 1), ("status", 1)]
        told = [("plan", 1), ("status", 1), ("prices", 2), ("latency", 2)]
        assert _read(await new.next(0)) == told
        assert await new.next(0) == b""
        assert _read(await one.next(0)) == [("plan", 1), ("status", 1)]
    assert feed.guidance.latency == latency.model_copy(update={"number": 2})


async def test_a_waiting_reader_is_woken_and_closing_ends_all() -> None:
    """Also those who come after."""
    feed = Feed(KEY)
    with feed.subscribe(ReaderState()) as reader:
        waiting = asyncio.ensure_future(reader.next(60))
        await asyncio.sleep(0)
        feed.publish(_plan(1))
        assert _read(await waiting) == [("plan", 1)]
        waiting = asyncio.ensure_future(reader.next(60))
        await asyncio.sleep(0)
        feed.close()
        assert await waiting == b""
        assert reader.closed
    with feed.subscribe(ReaderState()) as late:
        assert late.closed


def _seen(number: int, **relays: str) -> Status:
    return status_of(number, **relays)


async def _told(reader: Subscription) -> list[Snapshot]:
    lines = (await reader.next(0)).splitlines()
    found = [unseal(line, KEY.public_key()) for line in lines]
    return [each for each in found if isinstance(each, Snapshot)]


async def test_a_reader_that_keeps_up_is_told_what_changed() -> None:
    """The whole status first, then deltas that lead from one to the next."""
    feed = Feed(KEY)
    feed.publish(_seen(1, a="up", b="up"))
    with feed.subscribe(ReaderState(), deltas=True) as reader, feed.subscribe(ReaderState()) as old:
        assert await _told(reader) == [_seen(1, a="up", b="up")]
        feed.publish(_seen(2, a="up", b="down"))
        (delta,) = await _told(reader)
        assert isinstance(delta, Delta)
        assert (delta.base, delta.number, [*delta.relays]) == (1, 2, ["b"])
        assert await _told(old) == [_seen(2, a="up", b="down")], "one that did not ask for deltas"


async def test_a_slow_reader_is_told_of_many_changes_by_one_delta() -> None:
    """Merged from what it has to what is; whole when it is too far behind."""
    feed = Feed(KEY)
    feed.publish(_seen(1))
    with feed.subscribe(ReaderState(), deltas=True) as reader:
        await _told(reader)
        for number in range(2, 2 + RECENT):
            feed.publish(_seen(number, a="up", b="up" if number % 2 else "down"))
        (delta,) = await _told(reader)
        assert isinstance(delta, Delta)
        assert (delta.base, delta.number, {*delta.relays}) == (1, 1 + RECENT, {"a", "b"})
        for number in range(2 + RECENT, 3 + 2 * RECENT):
            feed.publish(_seen(number, a="up"))
        (whole,) = await _told(reader)
        assert whole == _seen(2 + 2 * RECENT, a="up")
        assert await _told(reader) == []


async def test_a_reader_that_comes_back_goes_on_from_what_it_holds() -> None:
    """Of another lineage, or unknown here, it gets all; what is newer than ours stays."""
    feed = Feed(KEY)
    for number in (1, 2, 3):
        feed.publish(_seen(number, a="up" if number == 3 else "down"))

    async def first(held: ReaderState) -> list[str]:
        with feed.subscribe(held, deltas=True) as reader:
            return [kind_of(each) for each in await _told(reader)]

    assert await first(ReaderState("test", {"status": 1})) == ["delta"]
    assert await first(ReaderState("test", {"status": 3})) == []
    assert await first(ReaderState("test", {"status": 4})) == []
    assert await first(ReaderState("test", {"status": 0})) == ["status"]
    assert await first(ReaderState("another", {"status": 1})) == ["status"]
    assert await first(ReaderState("test", {})) == ["status"]


async def test_a_whole_status_comes_among_the_deltas_not_for_all_at_once() -> None:
    """So that what an edge keeps is bounded, and a thousand are not sent much in one moment."""
    feed = Feed(KEY)
    feed.publish(_seen(0))
    with (
        feed.subscribe(ReaderState("test", {"status": 0}), deltas=True) as one,
        feed.subscribe(ReaderState("test", {"status": 0}), deltas=True) as two,
    ):
        wholes: dict[Subscription, list[int]] = {one: [], two: []}
        for number in range(1, 3 * WHOLE_EVERY):
            feed.publish(_seen(number))
            for reader, seen in wholes.items():
                seen += [each.number for each in await _told(reader) if isinstance(each, Status)]
    assert len(wholes[one]) == len(wholes[two]) == 2
    assert not {*wholes[one]} & {*wholes[two]}
    assert wholes[one][1] - wholes[one][0] == WHOLE_EVERY + 1


async def test_the_geo_data_of_readers_are_counted() -> None:
    """While they are connected; readers that name none, as older edges and replicas, are not."""
    feed = Feed(KEY)
    with feed.subscribe(ReaderState()), feed.subscribe(ReaderState(), geodata="a1"):
        with feed.subscribe(ReaderState(), geodata="a1"):
            assert feed.geodata() == {"a1": 2}
        assert feed.geodata() == {"a1": 1}
    assert feed.geodata() == {}
