"""The newest snapshot of each kind, sealed, and the subscriptions of its readers.

A snapshot is sealed once for all readers; a status also as deltas from each of the last few
statuses. A slow reader gets the newest snapshot of each kind, never a queue of old ones.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firsthop_controlplane.feed.broadcast_event import BroadcastEvent
from firsthop_steering.feed.deltas import delta_between
from firsthop_steering.feed.envelope import STAMPED_EVERY, stamped
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
"""Order of sending: plans first, since a status needs its plan; large snapshots last."""
ASKED_FOR: frozenset[SnapshotKind] = frozenset({"prices", "latency"})
"""Sent only to readers that request them: older releases refuse unknown kinds."""
RECENT = 32
"""Number of past statuses that a delta may start from; older readers get a whole status."""
WHOLE_EVERY = 100
"""Largest number of deltas between two whole statuses, which limits what edges must keep."""


@dataclass(frozen=True, slots=True)
class ReaderState:
    """The snapshots that a reader already has: their numbers, in one lineage."""

    lineage: str | None = None
    numbers: Mapping[SnapshotKind, int] | None = None


class Feed:
    """The present snapshot of each kind, and its readers."""

    def __init__(
        self, key: Ed25519PrivateKey, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._key = key
        self._now = now
        self._current: dict[SnapshotKind, Snapshot] = {}
        self._lines: dict[SnapshotKind, bytes] = {}
        """The present snapshots, sealed; each is sealed on first use."""
        self._stamped: dict[SnapshotKind, tuple[int, bytes]] = {}
        """By kind: the hour of the newest stamp, and the line with that stamp."""
        self._recent: deque[Status] = deque(maxlen=RECENT)
        """The statuses before the present one."""
        self._deltas: dict[int, bytes] = {}
        """Sealed deltas to the present status, by the number of their base status."""
        self._readers: set[Subscription] = set()
        self._opened = 0
        self._closed = False
        self.published = BroadcastEvent()
        """Notified of every snapshot, for tasks of this process."""

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

    def geodata(self) -> dict[str, int]:
        """The number of readers with geo data, by its digest."""
        return dict(Counter(each.geodata for each in self._readers if each.geodata))

    def sealed(self, snapshot: Snapshot) -> bytes:
        """A snapshot's line. Changes nothing, so a thread can seal a large snapshot."""
        return seal(snapshot, self._key)

    def publish(
        self, snapshot: Plan | Status | KeySet | Prices | Latency, line: bytes | None = None
    ) -> None:
        """Make this the present snapshot of its kind, and wake every reader.

        `line` is the sealed snapshot, if the caller has sealed it already.
        """
        kind = kind_of(snapshot)
        if isinstance(snapshot, Status):
            if self.status is not None:
                self._recent.append(self.status)
            self._deltas.clear()
        self._current[kind] = snapshot
        self._lines.pop(kind, None)
        self._stamped.pop(kind, None)
        if line is not None:
            self._lines[kind] = line
        for reader in self._readers:
            reader.wake()
        self.published.notify()

    def present(self, kind: SnapshotKind) -> Snapshot | None:
        """The present snapshot of this kind."""
        return self._current.get(kind)

    def line(self, kind: SnapshotKind) -> bytes:
        """The present snapshot of this kind, sealed, and stamped within the present hour."""
        now = self._now()
        hour = int(now.timestamp() // STAMPED_EVERY.total_seconds())
        known = self._stamped.get(kind)
        if known is not None and known[0] == hour:
            return known[1]
        if kind not in self._lines:
            self._lines[kind] = seal(self._current[kind], self._key)
        line = stamped(self._lines[kind], self._key, now)
        self._stamped[kind] = hour, line
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
        self,
        held: ReaderState,
        *,
        deltas: bool = False,
        kinds: Container[str] = (),
        geodata: str = "",
    ) -> Iterator[Subscription]:
        """Add a reader that already has `held`; of the kinds in `ASKED_FOR` it gets `kinds`.

        `geodata` is the digest of its geo data; empty if it has none.
        """
        self._opened += 1
        # Readers start with different counts, so that not all get a whole status at once.
        sent = self._opened % WHOLE_EVERY
        taken = [kind for kind in ORDER if kind not in ASKED_FOR or kind in kinds]
        subscription = Subscription(self, held, taken, deltas=deltas, deltas_sent=sent)
        subscription.geodata = geodata
        if self._closed:
            subscription.close()
        self._readers.add(subscription)
        try:
            yield subscription
        finally:
            self._readers.discard(subscription)

    def close(self) -> None:
        """End every stream, also those opened later."""
        self._closed = True
        for reader in self._readers:
            reader.close()


class Subscription:
    """One reader: which snapshots it has, and which lines it needs next."""

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
        self.geodata = ""
        """The digest of the reader's geo data; empty if it has none."""

    def wake(self) -> None:
        """Make `next` check for new lines."""
        self._wake.set()

    def close(self) -> None:
        self.closed = True
        self._wake.set()

    async def next(self, patience_s: float) -> bytes:
        """All new lines, as soon as there are any; empty if none come within `patience_s`."""
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
        """The line that gives the reader the present snapshot of a kind; empty if it has it."""
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
