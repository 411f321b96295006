"""Snapshots from a control plane's feed, and their copies on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from firsthop.document_files import DocumentStamp
from firsthop.edge.following.follower import FeedFollower
from firsthop.edge.following.refusals import Refusals
from firsthop.edge.following.snapshot_store import SnapshotStore
from firsthop.edge.following.source import FeedState
from firsthop_steering.feed.guidance import Guidance
from firsthop_steering.feed.snapshot import KeySet, Plan, Status


class FeedSource:
    """A `SnapshotSource`: `follower` writes into `store`."""

    def __init__(self, store: SnapshotStore, follower: FeedFollower) -> None:
        self._store = store
        self._follower = follower

    @property
    def plan(self) -> Plan | None:
        """The newest plan."""
        return self._store.plan

    @property
    def status(self) -> Status | None:
        """The newest status; if there is a plan but no status yet, one with no measurements."""
        plan, status = self._store.plan, self._store.status
        if status is None and plan is not None:
            return Status(number=0, lineage=plan.lineage, created_at=plan.created_at)
        return status

    @property
    def keys(self) -> KeySet | None:
        """The newest credential keys."""
        return self._store.keys

    @property
    def guidance(self) -> Guidance:
        """The newest prices and learned round trips, of any lineage."""
        return self._store.guidance

    @property
    def feed(self) -> FeedState:
        """The state of the connection, and the refused snapshots."""
        return FeedState(
            urls=self._follower.replicas.urls,
            last_error=self._follower.last_error,
            refused=self._store.rejected,
            last_refusal=self._store.last_rejection,
            gaps=self._store.gaps,
            clock_off_s=self._follower.clock_off_s,
        )

    @property
    def connected_to(self) -> str:
        """The replica that feeds this edge; empty if there is none."""
        return self._follower.connected_to

    @property
    def files(self) -> Mapping[Path, DocumentStamp]:
        """No files: only this process writes them, so none need be read again."""
        return {}

    @property
    def refusals(self) -> Refusals:
        """Of snapshots, from the feed and from the disk."""
        return self._store.refusals

    @property
    def disk_error(self) -> str:
        """Why some of the newest snapshots are not on disk; empty if all are."""
        return self._store.disk_error

    def load(self) -> None:
        """Loads the genuine snapshots on disk."""
        self._store.load()

    async def reload(self) -> None:
        """Does nothing: the feed sends all changes."""

    def save_pending(self) -> None:
        """Writes the snapshots that could not be written to disk before."""
        self._store.save_pending()

    async def run(self) -> None:
        """Follows the feed until cancelled."""
        await self._follower.run()
