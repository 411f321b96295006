"""The newest accepted snapshots, in memory and on disk: what an edge starts from.

Each kind is one file of one sealed line. What the disk holds is checked like what the network
brings: a tampered file is refused, said so, and the feed's word is waited for.
"""

from __future__ import annotations

from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from firsthop.secret_files import write_secret
from firsthop_steering.snapshot import (
    KeySet,
    Kind,
    Plan,
    Rejected,
    Snapshot,
    Status,
    kind_of,
    supersedes,
    unseal,
)

log = structlog.get_logger(__name__)

KINDS: tuple[Kind, ...] = ("plan", "status", "keys")


class Shelf:
    """Holds one snapshot of each kind; `folder` is created with mode 0700."""

    def __init__(self, folder: Path, trusted: Ed25519PublicKey) -> None:
        self._folder = folder
        self._trusted = trusted
        self._held: dict[Kind, Snapshot] = {}
        self.rejected: dict[str, int] = {}
        """Refused snapshots, counted by where they came from (disk, feed)."""
        self.last_rejection = ""
        self.disk_error = ""
        """Why the newest snapshots are not all on disk; empty when they are."""
        self._unkept: dict[Kind, bytes] = {}
        self._first_status_due = False
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

    def load(self) -> None:
        """Takes what lies on disk and is genuine."""
        for kind in KINDS:
            path = self._path(kind)
            try:
                line = path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                self._refuse("disk", f"{path}: {error.strerror}")
                continue
            snapshot = unseal(line, self._trusted)
            if isinstance(snapshot, Rejected):
                self._refuse("disk", f"{path}: {snapshot.reason}")
            elif kind_of(snapshot) != kind:
                self._refuse("disk", f"{path}: holds a {kind_of(snapshot)} snapshot")
            else:
                self._held[kind] = snapshot

    def begin_stream(self) -> None:
        """A feed was connected. Its first status holds, whatever its number.

        Replicas of the control plane number their statuses apart; the one that speaks now knows.
        """
        self._first_status_due = True

    def accept(self, line: bytes) -> Snapshot | None:
        """Takes a sealed line from the feed; returns it if it is new, else None."""
        snapshot = unseal(line, self._trusted)
        if isinstance(snapshot, Rejected):
            self._refuse("feed", snapshot.reason)
            return None
        kind = kind_of(snapshot)
        held = self._held.get(kind)
        first_status = kind == "status" and self._first_status_due
        self._first_status_due &= kind != "status"
        if snapshot == held or not (first_status or supersedes(snapshot, held)):
            return None
        self._held[kind] = snapshot
        self._write(kind, line)
        return snapshot

    def numbers(self) -> dict[str, str]:
        """What is held, as the feed asks for it."""
        held: dict[str, str] = {kind: str(snapshot.number) for kind, snapshot in self._held.items()}
        if self.plan is not None:
            held["lineage"] = self.plan.lineage
        return held

    def _path(self, kind: Kind) -> Path:
        return self._folder / f"{kind}.snapshot"

    def _write(self, kind: Kind, line: bytes) -> None:
        """Replaces the file whole; a full disk costs the copy, not the service."""
        self._unkept[kind] = line
        self.keep()

    def keep(self) -> None:
        """Writes what the disk did not take before; says so once when it does not."""
        for kind, line in list(self._unkept.items()):
            path = self._path(kind)
            try:
                write_secret(path, line)
            except OSError as error:
                if not self.disk_error:
                    log.error("snapshot not kept on disk", path=str(path), error=error.strerror)
                self.disk_error = f"{path}: {error.strerror}"
                return
            del self._unkept[kind]
        if self.disk_error:
            log.info("snapshots kept on disk again")
        self.disk_error = ""

    def _refuse(self, origin: str, reason: str) -> None:
        self.rejected[origin] = self.rejected.get(origin, 0) + 1
        self.last_rejection = f"{origin}: {reason}"
        log.error("snapshot refused", origin=origin, reason=reason)
