"""The newest accepted snapshots, in memory and on disk: what an edge starts from.

Each kind is one file of one sealed line; the status has a second file, of the deltas since. What
the disk holds is checked like what the network brings: a tampered file is refused, said so, and
the feed's word is waited for.
"""

from __future__ import annotations

import os
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from firsthop.secret_files import write_secret
from firsthop_steering.feed.deltas import applied, follows
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
"""More since the last whole status are not kept: a whole one is asked for. The feed sends one
of its own accord four times as often."""


class FeedGapError(ValueError):
    """A delta that does not start from the status that is held: a whole one is needed."""


class SnapshotStore:
    """Holds one snapshot of each kind; `folder` is created with mode 0700."""

    def __init__(self, folder: Path, trusted: Ed25519PublicKey) -> None:
        self._folder = folder
        self._trusted = trusted
        self._held: dict[SnapshotKind, Snapshot] = {}
        self.rejected: dict[str, int] = {}
        """Refused snapshots, counted by where they came from (disk, feed)."""
        self.last_rejection = ""
        self.gaps = 0
        """How often a whole status had to be asked for."""
        self.disk_error = ""
        """Why the newest snapshots are not all on disk; empty when they are."""
        self._lines: dict[SnapshotKind, list[bytes]] = {}
        """What is held, as it came: a line each, of the status the whole and the deltas since."""
        self._unkept: set[SnapshotKind] = set()
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
        """The newest prices and learned round trips; they hold for as long as no others come."""
        prices, latency = self._held.get("prices"), self._held.get("latency")
        return Guidance(
            prices if isinstance(prices, Prices) else None,
            latency if isinstance(latency, Latency) else None,
        )

    def load(self) -> None:
        """Takes what lies on disk and is genuine."""
        for kind in KINDS:
            path = self._path(kind)
            line = self._read(path)
            if line is None:
                continue
            snapshot = unseal(line, self._trusted)
            if isinstance(snapshot, RejectedSnapshot):
                self._refuse("disk", f"{path}: {snapshot.reason}")
            elif kind_of(snapshot) != kind:
                self._refuse("disk", f"{path}: holds a {kind_of(snapshot)} snapshot")
            else:
                self._held[kind], self._lines[kind] = snapshot, [line]
        self._load_deltas()

    def _load_deltas(self) -> None:
        """As far as they are genuine and follow each other; what is behind that is refused."""
        for line in (self._read(self._deltas) or b"").splitlines():
            delta, status = unseal(line, self._trusted), self.status
            if isinstance(delta, RejectedSnapshot):
                fault = delta.reason
            elif not isinstance(delta, Delta):
                fault = f"holds a {kind_of(delta)} snapshot"
            elif status is not None and not supersedes(delta, status):
                continue  # from before the whole status: a crash left them
            elif status is None or not follows(delta, status):
                fault = f"delta {delta.number} does not follow what is before it"
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
        """Takes a sealed line from the feed; returns it if it is new, else None.

        Raises FeedGapError when the feed is to be asked for a whole status.
        """
        line = line.rstrip(b"\n") + b"\n"  # a stream is read without its line ends
        snapshot = unseal(line, self._trusted)
        if isinstance(snapshot, RejectedSnapshot):
            self._refuse("feed", snapshot.reason)
            return None
        kind: SnapshotKind = "status" if isinstance(snapshot, Delta) else kind_of(snapshot)
        held = self._held.get(kind)
        if self._whole_due and snapshot == held:
            self._write(kind, line)  # held already, but not on disk in one piece
        if not supersedes(snapshot, held):
            return None
        if isinstance(snapshot, Delta):
            self._apply(snapshot, line)
        else:
            self._held[kind] = snapshot
            self._write(kind, line)
        return snapshot

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
        """What is held, as the feed asks for it."""
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
        """Replaces the file whole; a full disk costs the copy, not the service."""
        self._lines[kind] = [line]
        if kind == "status":
            self._whole_due = False
        self._unkept.add(kind)
        self.keep()

    def _append(self, line: bytes) -> None:
        """Keeps a delta behind the ones before it, unless what lies there has to be mended."""
        self._lines["status"].append(line)
        if self._whole_due or "status" in self._unkept:
            self._unkept.add("status")
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        try:
            with os.fdopen(os.open(self._deltas, flags, 0o600), "ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self._unkept.add("status")
            self._not_kept(self._deltas, error)

    def keep(self) -> None:
        """Writes what the disk did not take before; says so once when it does not."""
        for kind in sorted(self._unkept):
            try:
                self._put(kind)
            except OSError as error:
                return self._not_kept(self._path(kind), error)
            self._unkept.discard(kind)
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

    def _not_kept(self, path: Path, error: OSError) -> None:
        if not self.disk_error:
            log.error("snapshot.save_failed", path=str(path), error=error.strerror)
        self.disk_error = f"{path}: {error.strerror}"

    def _refuse(self, origin: str, reason: str) -> None:
        self.rejected[origin] = self.rejected.get(origin, 0) + 1
        self.last_rejection = f"{origin}: {reason}"
        log.error("snapshot.refused", origin=origin, reason=reason)
