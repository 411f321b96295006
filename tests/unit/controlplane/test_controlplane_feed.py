"""The feed: sealed once, newest only, in order, and nothing that a reader holds already."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firsthop_controlplane import feed as feed_module
from firsthop_controlplane.feed import Feed, Held
from firsthop_controlplane.status import Numbers
from firsthop_steering.document import Document
from firsthop_steering.snapshot import Plan, Snapshot, Status, kind_of, seal, unseal

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
    with feed.subscribe(Held()) as reader:
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
        with feed.subscribe(Held()) as reader:
            assert await reader.next(0)
    assert len(sealed) == 1


@pytest.mark.parametrize(
    ("held", "told"),
    [
        (Held(), True),
        (Held("a", {}), True),
        (Held("a", {"plan": 6}), True),
        (Held("a", {"plan": 7}), False),
        (Held("a", {"plan": 8}), False),
        (Held("b", {"plan": 7}), True),
        (Held(None, {"plan": 7}), True),
        (Held("a", {"status": 7}), True),
    ],
)
async def test_numbers_count_within_their_lineage(held: Held, told: bool) -> None:
    """What a reader holds, or what it would refuse, is not sent."""
    feed = Feed(KEY)
    feed.publish(_plan(7))
    with feed.subscribe(held) as reader:
        assert (await reader.next(0) != b"") is told


async def test_a_waiting_reader_is_woken_and_closing_ends_all() -> None:
    """Also those who come after."""
    feed = Feed(KEY)
    with feed.subscribe(Held()) as reader:
        waiting = asyncio.ensure_future(reader.next(60))
        await asyncio.sleep(0)
        feed.publish(_plan(1))
        assert _read(await waiting) == [("plan", 1)]
        waiting = asyncio.ensure_future(reader.next(60))
        await asyncio.sleep(0)
        feed.close()
        assert await waiting == b""
        assert reader.closed
    with feed.subscribe(Held()) as late:
        assert late.closed


def test_numbers_are_given_once_and_never_beyond_the_block() -> None:
    """A block that is used up gives None."""
    numbers = Numbers(5, 7)
    assert [numbers.take() for _ in range(5)] == [5, 6, 7, None, None]
    assert Numbers().take() is None
