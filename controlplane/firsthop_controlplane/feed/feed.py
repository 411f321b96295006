"""The newest snapshot of each kind, sealed, and the subscriptions of its readers.

A snapshot is sealed once for all readers, and a status also as deltas from each of the last few. A
slow reader gets the newest of each kind, never a queue of old ones.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firsthop_controlplane.feed.broadcast_event import BroadcastEvent
from firsthop_steering.feed.deltas import delta_between
from firsthop_steering.feed.guidance import Guidance
from firsthop_steering.feed.snapshot import (
    KeySet,
    Latency,
    Plan,
    Prices,
    Snapshot,
    SnapshotKind,
    Status,
    kind_of,
    seal,
)

ORDER: tuple[SnapshotKind, ...] = ("plan", "keys", "status", "prices", "latency")
"""The order of sending: a status needs its plan, so plans go first; large snapshots go last."""
ASKED_FOR: frozenset[SnapshotKind] = frozenset({"prices", "latency"})
"""Sent only to readers that ask for them: older releases refuse kinds that they do not know."""
RECENT = 32
"""Statuses that a delta may start from; a reader that is further behind gets a whole status."""
WHOLE_EVERY = 100
"""Deltas between two whole statuses, so that an edge need not keep more than these."""


@dataclass(frozen=True, slots=True)
class ReaderState:
    """The snapshots that a reader has already: numbers of one lineage."""

    lineage: str | None = None
    numbers: Mapping[SnapshotKind, int] | None = None


class Feed:
    """The present snapshot of each kind, and the readers of them."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._current: dict[SnapshotKind, Snapshot] = {}
        self._lines: dict[SnapshotKind, bytes] = {}
        """The present snapshots sealed, each on its first use."""
        self._recent: deque[Status] = deque(maxlen=RECENT)
        """The statuses before the present one."""
        self._deltas: dict[int, bytes] = {}
        """Sealed deltas to the present status, by the number of the status that they start from."""
        self._readers: set[Subscription] = set()
        self._opened = 0
        self._closed = False
        self.published = BroadcastEvent()
        """Notified with every snapshot, for tasks of this process."""

    @property
    def plan(self) -> Plan | None:
        snapshot = self._current.get("plan")
        return snapshot if isinstance(snapshot, Plan) else None

    @property
    def status(self) -> Status | None:
        snapshot = self._current.get("status")
        return snapshot if isinstance(snapshot, Status) else None

    @property
    def keys(self) -> KeySet | None:
        snapshot = self._current.get("keys")
        return snapshot if isinstance(snapshot, KeySet) else None

    @property
    def guidance(self) -> Guidance:
        """The present prices and learned round trips."""
        prices, latency = self._current.get("prices"), self._current.get("latency")
        return Guidance(
            prices if isinstance(prices, Prices) else None,
            latency if isinstance(latency, Latency) else None,
        )

    @property
    def readers(self) -> int:
        return len(self._readers)

    def sealed(self, snapshot: Snapshot) -> bytes:
        """A snapshot's line; changes nothing, so a large snapshot can be sealed in a thread."""
        return seal(snapshot, self._key)

    def publish(
        self, snapshot: Plan | Status | KeySet | Prices | Latency, line: bytes | None = None
    ) -> None:
        """Make this the present snapshot of its kind, and wake every reader.

        `line` is the snapshot sealed, if that was done already.
        """
        kind = kind_of(snapshot)
        if isinstance(snapshot, Status):
            if self.status is not None:
                self._recent.append(self.status)
            self._deltas.clear()
        self._current[kind] = snapshot
        self._lines.pop(kind, None)
        if line is not None:
            self._lines[kind] = line
        for reader in self._readers:
            reader.wake()
        self.published.notify()

    def present(self, kind: SnapshotKind) -> Snapshot | None:
        """The present snapshot of this kind."""
        return self._current.get(kind)

    def line(self, kind: SnapshotKind) -> bytes:
        """The present snapshot of this kind, sealed."""
        line = self._lines.get(kind)
        if line is None:
            line = self._lines[kind] = seal(self._current[kind], self._key)
        return line

    def delta(self, base: int) -> bytes | None:
        """The sealed delta from status `base` to the present one; None if `base` is too old."""
        if base in self._deltas:
            return self._deltas[base]
        status = self.status
        for old in self._recent:
            if status is not None and (old.number, old.lineage) == (base, status.lineage):
                self._deltas[base] = seal(delta_between(old, status), self._key)
                return self._deltas[base]
        return None

    @contextmanager
    def subscribe(
        self, held: ReaderState, *, deltas: bool = False, kinds: Container[str] = ()
    ) -> Iterator[Subscription]:
        """A new reader, which has `held` already; of the kinds in `ASKED_FOR` it takes `kinds`."""
        self._opened += 1
        # The counts of readers start apart, so that not all get a whole status at once.
        sent = self._opened % WHOLE_EVERY
        taken = [kind for kind in ORDER if kind not in ASKED_FOR or kind in kinds]
        subscription = Subscription(self, held, taken, deltas=deltas, deltas_sent=sent)
        if self._closed:
            subscription.close()
        self._readers.add(subscription)
        try:
            yield subscription
        finally:
            self._readers.discard(subscription)

    def close(self) -> None:
        """End every stream, also those that are opened later."""
        self._closed = True
        for reader in self._readers:
            reader.close()


class Subscription:
    """One reader: what it was sent last, and what it is to be sent next."""

    def __init__(
        self,
        feed: Feed,
        held: ReaderState,
        kinds: Sequence[SnapshotKind],
        *,
        deltas: bool,
        deltas_sent: int,
    ) -> None:
        self._feed = feed
        self._kinds = kinds
        self._numbers = {(held.lineage, kind): n for kind, n in (held.numbers or {}).items()}
        self._takes_deltas = deltas
        self._deltas_sent = deltas_sent
        self._wake = asyncio.Event()
        self._wake.set()
        self.closed = False

    def wake(self) -> None:
        """Check for something new."""
        self._wake.set()

    def close(self) -> None:
        self.closed = True
        self._wake.set()

    async def next(self, patience_s: float) -> bytes:
        """All new lines, as soon as there are any; empty after `patience_s`."""
        lines = self._news() if self._wake.is_set() else b""
        if not lines and not self.closed:
            self._wake.clear()
            try:
                async with asyncio.timeout(patience_s):
                    await self._wake.wait()
            except TimeoutError:
                return b""
            lines = self._news()
        return lines

    def _news(self) -> bytes:
        self._wake.clear()
        return b"".join(self._line(kind) for kind in self._kinds)

    def _line(self, kind: SnapshotKind) -> bytes:
        """The line that brings the reader to the present snapshot of a kind; empty if it has it."""
        snapshot = self._feed.present(kind)
        if snapshot is None:
            return b""
        key = snapshot.lineage, kind
        before = self._numbers.get(key)
        if before is not None and before >= snapshot.number:
            return b""
        self._numbers[key] = snapshot.number
        return self._status_line(before) if kind == "status" else self._feed.line(kind)

    def _status_line(self, before: int | None) -> bytes:
        delta = None
        if self._takes_deltas and before is not None and self._deltas_sent < WHOLE_EVERY:
            delta = self._feed.delta(before)
        self._deltas_sent = 0 if delta is None else self._deltas_sent + 1
        return self._feed.line("status") if delta is None else delta
