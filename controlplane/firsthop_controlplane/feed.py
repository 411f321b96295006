"""The newest sealed snapshot of each kind, and who is being told of it.

A snapshot is sealed once, however many readers there are. A reader that is slow gets the newest of
each kind and never a queue of old ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firsthop_steering.snapshot import KeySet, Kind, Plan, Snapshot, Status, kind_of, seal

ORDER: tuple[Kind, ...] = ("plan", "keys", "status")
"""A status without its plan says nothing, so plans go first."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a reader has already: numbers of one lineage."""

    lineage: str | None = None
    numbers: Mapping[Kind, int] | None = None

    def has(self, snapshot: Snapshot) -> bool:
        """Whether sending this would change nothing at the reader."""
        number = (self.numbers or {}).get(kind_of(snapshot))
        if self.lineage != snapshot.lineage or number is None:
            return False
        # Replicas number their statuses apart: another number is another replica's word.
        return (
            number == snapshot.number if isinstance(snapshot, Status) else number >= snapshot.number
        )


class Subscription:
    """One reader's next lines: at most one of each kind."""

    def __init__(self) -> None:
        self._pending: dict[Kind, bytes] = {}
        self._wake = asyncio.Event()
        self.closed = False

    def offer(self, kind: Kind, line: bytes) -> None:
        self._pending[kind] = line
        self._wake.set()

    def close(self) -> None:
        self.closed = True
        self._wake.set()

    async def next(self, patience_s: float) -> bytes:
        """Everything that is new, as soon as there is something; empty after `patience_s`."""
        if not self._pending and not self.closed:
            try:
                async with asyncio.timeout(patience_s):
                    await self._wake.wait()
            except TimeoutError:
                return b""
        self._wake.clear()
        pending, self._pending = self._pending, {}
        return b"".join(pending[kind] for kind in ORDER if kind in pending)


class Feed:
    """The present plan, keys and status, and their readers."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._current: dict[Kind, tuple[Snapshot, bytes]] = {}
        self._readers: set[Subscription] = set()
        self._closed = False

    @property
    def plan(self) -> Plan | None:
        snapshot = self._snapshot("plan")
        return snapshot if isinstance(snapshot, Plan) else None

    @property
    def status(self) -> Status | None:
        snapshot = self._snapshot("status")
        return snapshot if isinstance(snapshot, Status) else None

    @property
    def keys(self) -> KeySet | None:
        snapshot = self._snapshot("keys")
        return snapshot if isinstance(snapshot, KeySet) else None

    @property
    def readers(self) -> int:
        return len(self._readers)

    def _snapshot(self, kind: Kind) -> Snapshot | None:
        entry = self._current.get(kind)
        return None if entry is None else entry[0]

    def publish(self, snapshot: Snapshot) -> None:
        """Make this the present one of its kind, and tell every reader."""
        kind = kind_of(snapshot)
        line = seal(snapshot, self._key)
        self._current[kind] = snapshot, line
        for reader in self._readers:
            reader.offer(kind, line)

    @contextmanager
    def subscribe(self, held: Held) -> Iterator[Subscription]:
        """A reader that is first told what it does not hold."""
        subscription = Subscription()
        for kind, (snapshot, line) in self._current.items():
            if not held.has(snapshot):
                subscription.offer(kind, line)
        if self._closed:
            subscription.close()
        self._readers.add(subscription)
        try:
            yield subscription
        finally:
            self._readers.discard(subscription)

    def close(self) -> None:
        """End every stream, now and from now on."""
        self._closed = True
        for reader in self._readers:
            reader.close()
