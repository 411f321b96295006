"""The newest accepted snapshots, in memory and on disk; an edge starts with those on disk.

Each kind has a file of one sealed line; the status has a second file, with the deltas since. Files
are verified like lines from the network: if one was tampered with, it is refused and logged, and
the feed has to send that snapshot.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from firsthop.edge.following.refusals import Refusals
from firsthop.secret_files import write_secret
from firsthop_steering.feed.deltas import applied, follows
from firsthop_steering.feed.envelope import stamp_fault
from firsthop_steering.feed.guidance import Guidance
from firsthop_steering.feed.snapshot import (
    Delta,
    KeySet,
    Latency,
    Plan,
    Prices,
    RejectedSnapshot,
    Snapshot,
    SnapshotKind,
    Status,
    kind_of,
    supersedes,
    unseal,
)

log = structlog.get_logger(__name__)

KINDS: tuple[SnapshotKind, ...] = ("plan", "status", "keys", "prices", "latency")
DELTAS_KEPT = 400
"""Limit on deltas since the last whole status, after which the edge requests a whole one. On one
stream the feed sends a whole one after at most 100 deltas."""


class FeedGapError(ValueError):
    """A delta does not start from the status that the edge has, so a whole status is needed."""


class OldFeedError(ValueError):
    """The feed sends old snapshots to an edge that has none; another feed may send current ones."""


class SnapshotStore:
    """Holds one snapshot of each kind; `folder` is created with mode 0700."""

    def __init__(
        self,
        folder: Path,
        trusted: Ed25519PublicKey,
        *,
        any_age: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`any_age`: the feed's first snapshots may be of any age."""
        self._folder = folder
        self._trusted = trusted
        self._any_age = any_age
        self._now = now
        self._held: dict[SnapshotKind, Snapshot] = {}
        self.rejected: dict[str, int] = {}
        """Number of refused snapshots, by origin (disk, feed)."""
        self.last_rejection = ""
        self.refusals = Refusals("snapshot")
        self.gaps = 0
        """How often a whole status had to be requested."""
        self.disk_error = ""
        """Why some of the newest snapshots are not on disk; empty if all are."""
        self._lines: dict[SnapshotKind, list[bytes]] = {}
        """The sealed lines of each kind: one, but the status may have deltas after it."""
        self._unsaved: set[SnapshotKind] = set()
        self._whole_due = False
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def plan(self) -> Plan | None:
        """The newest plan."""
        held = self._held.get("plan")
        return held if isinstance(held, Plan) else None

    @property
    def status(self) -> Status | None:
        """The newest status."""
        held = self._held.get("status")
        return held if isinstance(held, Status) else None

    @property
    def keys(self) -> KeySet | None:
        """The newest credential keys."""
        held = self._held.get("keys")
        return held if isinstance(held, KeySet) else None

    @property
    def guidance(self) -> Guidance:
        """The newest prices and learned round trips; in force until newer ones arrive."""
        prices, latency = self._held.get("prices"), self._held.get("latency")
        return Guidance(
            prices if isinstance(prices, Prices) else None,
            latency if isinstance(latency, Latency) else None,
        )

    def load(self) -> None:
        """Loads the snapshots on disk that are genuine; refuses the others."""
        for kind in KINDS:
            path = self._path(kind)
            try:
                self._load_kind(kind, path)
            except Exception as error:
                self._fault("disk", error, f"file {path}")
        try:
            self._load_deltas()
        except Exception as error:
            self._fault("disk", error, f"file {self._deltas}")
            self._whole_due = True

    def _load_kind(self, kind: SnapshotKind, path: Path) -> None:
        line = self._read(path)
        if line is None:
            return
        snapshot = unseal(line, self._trusted)
        if isinstance(snapshot, RejectedSnapshot):
            self._refuse("disk", f"{path}: {snapshot.reason}")
        elif kind_of(snapshot) != kind:
            self._refuse("disk", f"{path}: holds a {kind_of(snapshot)} snapshot")
        else:
            self._held[kind], self._lines[kind] = snapshot, [line]

    def _load_deltas(self) -> None:
        """Applies the deltas on disk up to the first one that is not genuine or does not follow."""
        for line in (self._read(self._deltas) or b"").splitlines():
            delta, status = unseal(line, self._trusted), self.status
            if isinstance(delta, RejectedSnapshot):
                fault = delta.reason
            elif not isinstance(delta, Delta):
                fault = f"holds a {kind_of(delta)} snapshot"
            elif status is not None and not supersedes(delta, status):
                continue  # older than the whole status: left by a crash
            elif status is None or not follows(delta, status):
                fault = f"delta {delta.number} does not follow the previous one"
            else:
                self._held["status"] = applied(delta, status)
                self._lines["status"].append(line + b"\n")
                continue
            self._refuse("disk", f"{self._deltas}: {fault}")
            self._whole_due = True
            return

    def _read(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._refuse("disk", f"{path}: {error.strerror}")
            return None

    def accept(self, line: bytes) -> Snapshot | None:
        """Takes a sealed line from the feed; returns the snapshot if it is new, otherwise None.

        The first one of a kind must have a recent stamp, and later ones higher numbers. Raises
        FeedGapError if a whole status must be requested, and OldFeedError without a recent stamp.
        """
        try:
            return self._take(line)
        except (FeedGapError, OldFeedError):
            raise
        except Exception as error:
            self._fault("feed", error)
            return None

    def _take(self, line: bytes) -> Snapshot | None:
        line = line.rstrip(b"\n") + b"\n"  # the stream's line ends were removed
        snapshot = unseal(line, self._trusted)
        if isinstance(snapshot, RejectedSnapshot):
            self._refuse("feed", snapshot.reason)
            return None
        kind: SnapshotKind = "status" if isinstance(snapshot, Delta) else kind_of(snapshot)
        held = self._held.get(kind)
        if self._whole_due and snapshot == held:
            self._write(kind, line)  # in memory already, but the deltas on disk are not valid
        if not supersedes(snapshot, held):
            return None
        if held is None and not isinstance(snapshot, Delta):
            self._check_age(kind, line)
        if isinstance(snapshot, Delta):
            self._apply(snapshot, line)
        else:
            self._held[kind] = snapshot
            self._write(kind, line)
        return snapshot

    def _check_age(self, kind: SnapshotKind, line: bytes) -> None:
        """Raises OldFeedError for an old snapshot, which somebody may have kept and replayed."""
        fault = None if self._any_age else stamp_fault(line, self._trusted, self._now())
        if fault is not None:
            reason = f"{kind}: {fault}; --accept-old-snapshots accepts it"
            self._refuse("feed", reason)
            raise OldFeedError(reason)

    def _apply(self, delta: Delta, line: bytes) -> None:
        status = self.status
        if status is None or not follows(delta, status):
            held = status.number if status else None
            raise self._gap(f"delta {delta.number} follows status {delta.base}, not {held}")
        self._held["status"] = applied(delta, status)
        if len(self._lines["status"]) > DELTAS_KEPT:
            raise self._gap(f"{DELTAS_KEPT} deltas since the last whole status")
        self._append(line)

    def _gap(self, reason: str) -> FeedGapError:
        self.gaps += 1
        self._whole_due = True
        log.warning("status.requested", reason=reason)
        return FeedGapError(reason)

    def numbers(self) -> dict[str, str]:
        """The numbers of the present snapshots, as query parameters of the feed."""
        plan = self.plan
        held: dict[str, str] = {
            kind: str(snapshot.number)
            for kind, snapshot in self._held.items()
            if plan is None or snapshot.lineage == plan.lineage
        }
        if self._whole_due:
            held.pop("status", None)
        if plan is not None:
            held["lineage"] = plan.lineage
        return held

    def _path(self, kind: SnapshotKind) -> Path:
        return self._folder / f"{kind}.snapshot"

    @property
    def _deltas(self) -> Path:
        return self._folder / "status.deltas"

    def _write(self, kind: SnapshotKind, line: bytes) -> None:
        """Replaces the file; if the disk is full, the snapshot is still used from memory."""
        self._lines[kind] = [line]
        if kind == "status":
            self._whole_due = False
        self._unsaved.add(kind)
        self.save_pending()

    def _append(self, line: bytes) -> None:
        """Appends a delta to the file, unless the whole file must be rewritten."""
        self._lines["status"].append(line)
        if self._whole_due or "status" in self._unsaved:
            self._unsaved.add("status")
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        try:
            with os.fdopen(os.open(self._deltas, flags, 0o600), "ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self._unsaved.add("status")
            self._save_failed(self._deltas, error)

    def save_pending(self) -> None:
        """Writes what could not be written before; logs only the first of several failures."""
        for kind in sorted(self._unsaved):
            try:
                self._put(kind)
            except OSError as error:
                return self._save_failed(self._path(kind), error)
            self._unsaved.discard(kind)
        if self.disk_error:
            log.info("snapshots.saved")
        self.disk_error = ""
        return None

    def _put(self, kind: SnapshotKind) -> None:
        whole, *deltas = self._lines[kind]
        write_secret(self._path(kind), whole)
        if deltas:
            write_secret(self._deltas, b"".join(deltas))
        elif kind == "status":
            self._deltas.unlink(missing_ok=True)

    def _save_failed(self, path: Path, error: OSError) -> None:
        if not self.disk_error:
            log.error("snapshot.save_failed", path=str(path), error=error.strerror)
        self.disk_error = f"{path}: {error.strerror}"

    def _refuse(self, origin: str, reason: str) -> None:
        self.rejected[origin] = self.rejected.get(origin, 0) + 1
        self.last_rejection = f"{origin}: {reason}"
        self.refusals.content += 1
        log.error("snapshot.refused", origin=origin, reason=reason)

    def _fault(self, origin: str, error: Exception, *places: str) -> None:
        """Refuses a snapshot because of a bug; must be called while the exception is handled."""
        for place in places:
            error.add_note(place)
        self.refusals.add(error)
        self.rejected[origin] = self.rejected.get(origin, 0) + 1
        self.last_rejection = f"{origin}: {self.refusals.reason}"
