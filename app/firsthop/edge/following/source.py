"""The interface of an edge's source: a control plane's feed, or a document file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from firsthop.document_files import DocumentStamp
from firsthop.edge.following.refusals import Refusals
from firsthop_steering.feed.guidance import Guidance
from firsthop_steering.feed.snapshot import KeySet, Plan, Status


@dataclass(frozen=True, slots=True)
class FeedState:
    """The state of the connections to a control plane, for operators."""

    urls: Sequence[str]
    """All replicas."""
    last_error: str
    refused: Mapping[str, int]
    """Number of refused snapshots, by origin (disk, feed)."""
    last_refusal: str
    gaps: int
    """How often a whole status was requested."""
    clock_off_s: float | None
    """How far this host's clock is ahead of the control plane's; None if not known."""


class SnapshotSource(Protocol):
    """The source of plan, status, keys and guidance: the newest valid ones."""

    @property
    def plan(self) -> Plan | None:
        """The newest plan: what operators configured."""

    @property
    def status(self) -> Status | None:
        """The newest status: what was measured."""

    @property
    def keys(self) -> KeySet | None:
        """The credential keys."""

    @property
    def guidance(self) -> Guidance:
        """Prices and learned round trips."""

    @property
    def feed(self) -> FeedState | None:
        """The connection to a control plane; None if this edge follows none."""

    @property
    def connected_to(self) -> str:
        """URL of the control plane that feeds this edge; empty if there is none."""

    @property
    def files(self) -> Mapping[Path, DocumentStamp]:
        """The files that were read, with stamps from before reading; `reload` reads them again."""

    @property
    def disk_error(self) -> str:
        """Why a restart would begin with older snapshots; empty if it would not."""

    @property
    def refusals(self) -> Refusals:
        """What was refused: documents, or snapshots."""

    def load(self) -> None:
        """Read the files on disk. Raises DocumentError."""

    async def reload(self) -> None:
        """Read changed files again; on a fault, keep the former content and log the reason."""

    def save_pending(self) -> None:
        """Write what could not be written to disk before."""

    async def run(self) -> None:
        """Follow until cancelled."""
