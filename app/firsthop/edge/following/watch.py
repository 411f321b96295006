"""Watches inputs that change without a message: files, and parts of a plan that expire."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from firsthop.document_files import DocumentStamp, stamp_of
from firsthop.edge.following.expiry import expired
from firsthop.edge.following.geo_source import GeoTableSource
from firsthop.edge.following.source import SnapshotSource

INTERVAL_S = 1.0


class FileWatch:
    """Detects changed files, by their stamps."""

    def __init__(self) -> None:
        self._used: dict[Path, DocumentStamp] = {}
        """The stamp of each file when it was read."""
        self._seen: dict[Path, DocumentStamp] = {}
        """The stamp of each file at the previous call of `changed`."""

    def changed(self, files: Iterable[Path], read: Mapping[Path, DocumentStamp]) -> bool:
        """Whether `files` and those in `read` must be read again.

        `read` has the stamp of each file from before it was read; a file without a stamp was read
        before the first call. A file whose stamp differs from that of the previous call may still
        be written to, so it counts as changed only at the next call.
        """
        seen = self._seen
        self._seen = {path: stamp_of(path) for path in (*files, *read)}
        self._used |= read
        if self._seen != seen:  # perhaps still written to
            return False
        before = self._seen | self._used
        self._used = before | self._seen
        return self._used != before


class InputWatch:
    """Checks every second; reloads changed files, and reports changes to `on_change`."""

    def __init__(
        self,
        source: SnapshotSource,
        geo: GeoTableSource,
        *,
        reload: asyncio.Event,
        on_tick: Callable[[], None],
        on_change: Callable[[], None],
    ) -> None:
        """If `reload` is set, all files are read at once; `on_tick` is called every second."""
        self._source = source
        self._geo = geo
        self._reload = reload
        self._on_tick = on_tick
        self._on_change = on_change
        self._files = FileWatch()

    async def run(self) -> None:
        """Check until cancelled."""
        known = self._expired()
        self._files_changed()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL_S):
                    await self._reload.wait()
            self._on_tick()
            self._source.save_pending()
            if self._files_changed() or self._reload.is_set():
                self._reload.clear()
                await self._geo.reload()
                await self._source.reload()
                self._on_change()
            if (now := self._expired()) != known:
                known = now
                self._on_change()

    def _expired(self) -> frozenset[str]:
        plan = self._source.plan
        return expired(plan, datetime.now(UTC)) if plan else frozenset()

    def _files_changed(self) -> bool:
        return self._files.changed(self._geo.files, self._source.files)
