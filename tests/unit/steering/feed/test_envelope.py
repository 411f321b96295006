"""Envelopes as text: hostile ones are refused in bounded memory, and stamps are verified."""

from __future__ import annotations

import json
import tracemalloc
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firsthop_steering.feed.envelope import (
    MAX_HEAD,
    STAMPED_EVERY,
    VALID_FOR,
    open_envelope,
    stamp_fault,
    stamped,
)
from firsthop_steering.feed.snapshot import RejectedSnapshot, seal, unseal
from support.worlds import NOW, plan_of

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key()
LINE = seal(plan_of({}), KEY)


def test_a_stamped_line_is_the_same_snapshot() -> None:
    """Readers that know no stamps ignore it; replicas stamp alike within an hour."""
    line = stamped(LINE, KEY, NOW)
    assert json.loads(line) == json.loads(line) | json.loads(LINE)
    assert unseal(line, PUBLIC) == plan_of({})
    start = NOW.replace(minute=0, second=0)
    assert stamped(LINE, KEY, start + STAMPED_EVERY - timedelta(seconds=1)) == line
    assert stamped(LINE, KEY, start + STAMPED_EVERY) != line


def test_a_stamp_is_valid_for_a_while_and_for_its_line_only() -> None:
    line = stamped(LINE, KEY, NOW)
    start = NOW.replace(minute=0, second=0)
    for hours in (-1, 0, 1):
        assert stamp_fault(line, PUBLIC, start + hours * VALID_FOR) is None
    for hours in (-1, 1):
        late = start + hours * (VALID_FOR + timedelta(seconds=1))
        assert "more than 3 h" in str(stamp_fault(line, PUBLIC, late))
    moved = line.replace(b"2026", b"2027", 1)
    foreign = stamped(LINE, Ed25519PrivateKey.generate(), NOW)
    for bad in (LINE, moved, foreign, b"", b"{}", line.replace(b"+00:00", b"", 1)):
        assert "no valid stamp" in str(stamp_fault(bad, PUBLIC, NOW)), bad[:80]


@pytest.mark.parametrize(
    "line",
    [
        b'{"payload":"","x":[' + b"{}," * 700_000 + b"{}]}",
        b'{"x":[' + b"{}," * 700_000 + b'{}],"payload":""}',
        b'{"payload":[' + b"[]," * 700_000 + b"[]]}",
        b'{"payload":"' + b"x" * 2_000_000,
        b"[" * 2_000_000,
        b'{"payload":"","x":' + b"[" * (MAX_HEAD - 100) + b"]" * 50,
        b'{"payload":"\\ud800"}',
        b"\xff",
    ],
    ids=["tail", "head", "no string", "no end", "deep", "deep tail", "surrogate", "no text"],
)
def test_junk_takes_no_more_memory_than_its_length(line: bytes) -> None:
    tracemalloc.start()
    try:
        assert isinstance(unseal(line, PUBLIC), RejectedSnapshot)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(line) + 2**20
    finally:
        tracemalloc.stop()


def test_payloads_may_stand_anywhere() -> None:
    """Other writers may order and space the fields in another way."""
    envelope = json.loads(LINE)
    payload = envelope.pop("payload")
    for each in ({"payload": payload, **envelope}, {**envelope, "payload": payload, "new": 1}):
        assert open_envelope(json.dumps(each).encode()) == each
