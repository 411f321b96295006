"""How an edge reads the stream: hostile feeds take bounded memory and time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firsthop.edge.following.follower import (
    MAX_LINE_S,
    SILENCE_S,
    FeedFollower,
    NewGeodataError,
    _lines,
)
from firsthop.edge.following.snapshot_store import SnapshotStore
from support.worlds import NOW

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


async def read(chunks: Sequence[bytes], *, every_s: float = 0.0) -> list[bytes]:
    """The lines in chunks of which each arrives `every_s` after the previous one."""
    now = 0.0

    async def arriving() -> AsyncIterator[bytes]:
        nonlocal now
        for chunk in chunks:
            now += every_s
            yield chunk

    return [line async for line in _lines(arriving(), lambda: None, lambda: now)]


async def test_lines_may_be_cut_anywhere() -> None:
    text = b"one\n\n\ntwo\nthree\n\nunfinished"
    for size in range(1, len(text) + 1):
        chunks = [text[at : at + size] for at in range(0, len(text), size)]
        assert await read(chunks) == [b"one", b"two", b"three"]


async def test_a_line_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is too long, or an octet comes just before the silence would be noticed."""
    every_s = SILENCE_S - 0.1
    with pytest.raises(ValueError, match="takes more than 120 s"):
        await read([b"x"] * 100, every_s=every_s)
    assert await read([b"x"] * int(MAX_LINE_S / every_s) + [b"\n"], every_s=every_s)
    assert await read([b"\n"] * 100, every_s=every_s) == [], "heartbeats for ever are no line"
    monkeypatch.setattr("firsthop.edge.following.follower.MAX_LINE", 1000)
    with pytest.raises(ValueError, match="longer than 1000 octets"):
        await read([b"x" * 100] * 11)


def test_changed_geo_data_are_reported_anew(tmp_path: Path) -> None:
    """A control plane that knows the digest of former geo data is followed again."""
    store = SnapshotStore(tmp_path / "snapshots", Ed25519PrivateKey.generate().public_key())
    geodata = ["a1"]
    follower = FeedFollower(["http://a"], "t", store, print, geodata=lambda: geodata[-1])
    follower._received("http://a", "a1")
    assert follower.connected_to == "http://a"
    geodata.append("b2")
    with pytest.raises(NewGeodataError):
        follower._received("http://a", "a1")


@pytest.mark.parametrize("hours", [-24, -1, 0, 1, 24])
def test_a_wrong_clock_is_told(tmp_path: Path, hours: int) -> None:
    """By the log and in `/readyz`; else its credentials are refused elsewhere, for no reason that
    this edge shows."""
    store = SnapshotStore(tmp_path, KEY.public_key())
    follower = FeedFollower(["http://a"], "t", store, print)
    with structlog.testing.capture_logs() as logged:
        follower._compare_clocks("http://a", "no date", NOW)
        assert follower.clock_off_s is None
        follower._compare_clocks("http://a", format_datetime(NOW), NOW + timedelta(hours=hours))
    assert follower.clock_off_s == pytest.approx(hours * 3600, abs=1)
    assert [each["ahead_s"] for each in logged] == ([hours * 3600] if hours else [])
