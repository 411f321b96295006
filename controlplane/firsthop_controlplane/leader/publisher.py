"""Publishes a leader's snapshots of one kind: checks the leadership, numbers within the term."""

from __future__ import annotations

import asyncio

from firsthop_controlplane.feed.feed import Feed
from firsthop_controlplane.leader.leadership import first_number
from firsthop_controlplane.leader.replica import ReplicaLeadership
from firsthop_steering.feed.snapshot import Latency, Prices, Status, kind_of, supersedes


class Publisher:
    """Numbers the snapshots of one kind within the leader's term, and puts them into the feed."""

    def __init__(self, feed: Feed, leadership: ReplicaLeadership) -> None:
        self._feed = feed
        self._leadership = leadership
        self.term = 0
        self._number = 0
        """The number of the last snapshot."""

    def begin(self, term: int) -> None:
        """Number snapshots within `term` from now on."""
        self.term, self._number = term, first_number(term)

    @property
    def leads(self) -> bool:
        return self._leadership.leads

    def may_publish(self) -> bool:
        """Whether this replica leads, and has confirmed it recently enough."""
        return self._leadership.may_publish()

    @property
    def next_number(self) -> int:
        """The number for the next snapshot."""
        return self._number + 1

    def publish(self, snapshot: Status | Prices | Latency, line: bytes | None = None) -> None:
        """Put a snapshot with the next number into the feed; `line` is its sealed form, or None."""
        self._number = snapshot.number
        self._feed.publish(snapshot, line)

    async def publish_large(self, snapshot: Prices | Latency) -> bool:
        """Seal a snapshot in a thread, as it may have many megabytes, then publish it.

        Returns False if the leadership ended meanwhile: then nothing was published.
        """
        term = self.term
        line = await asyncio.to_thread(self._feed.sealed, snapshot)
        if term != self.term or not self.may_publish():
            return False
        self.publish(snapshot, line)
        return True

    async def restore(self, snapshot: Prices | Latency) -> None:
        """Publish the previous leader's last snapshot, unless the feed has a newer one."""
        line = await asyncio.to_thread(self._feed.sealed, snapshot)
        if supersedes(snapshot, self._feed.present(kind_of(snapshot))):
            self._feed.publish(snapshot, line)
