"""Table files of an edge: compiled off the hot path, named by what went into them, and kept.

So a restart with unchanged snapshots compiles nothing: the file is there already. A table that the
disk does not take is kept in memory, and answered by all the same.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import structlog

from firsthop.edge.following.expiry import expired
from firsthop.edge.pruning import prune
from firsthop_dns.compile.zone import encode_zones, static_zones
from firsthop_dns.table import layout
from firsthop_geodata.files import Writer, write_atomically, write_through
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.compile.compiler import compile_table
from firsthop_steering.compile.sections import SectionError
from firsthop_steering.compile.table import FORMAT, AnswerTable, CompiledService
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.feed.guidance import NO_GUIDANCE, Guidance
from firsthop_steering.feed.snapshot import Latency, Plan, Prices, Status, kind_of

log = structlog.get_logger(__name__)

KEPT = 4
"""Table files that stay on disk: workers may still map the one before the newest."""
KEPT_IN_MEMORY = 2
"""The newest, and the one that a worker may be about to open."""


class TableStore:
    """Builds and finds table files in one folder."""

    def __init__(self, folder: Path, *, vantage: str | None = None) -> None:
        """`vantage`: the edge's own region, for services whose view is local."""
        self.disk_error = ""
        """Why the newest table is in memory only; empty when it is on disk."""
        self._folder = folder
        self._vantage = vantage
        self._in_memory: deque[int] = deque()
        """Descriptors of tables without a file."""
        self._rtt: RttMap | None = None
        """With its atlas: both outlive what changes more often."""
        self._digests: dict[str, tuple[Prices | Latency, str]] = {}
        """By kind, of the newest: one may be of megabytes."""
        self._static: tuple[Plan, bytes] | None = None
        """The zones' own records, which no status changes."""
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def rtt(self) -> RttMap | None:
        """What the newest table was made by; None before the first that was compiled."""
        return self._rtt

    def has_mapped(self, plan: Plan, geo: GeoTable, latency: Latency | None) -> bool:
        """Whether what is learned is laid out already, or would be whatever is learned."""
        rtt = self._rtt
        if rtt is None or rtt.topology.plan is not plan or rtt.topology.geo is not geo:
            return True
        return rtt.latency is latency

    def build(
        self,
        plan: Plan,
        status: Status,
        geo: GeoTable,
        now: datetime,
        guidance: Guidance = NO_GUIDANCE,
        *,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> Path:
        """The table of these inputs; blocks for as long as the compilation takes.

        `checkpoint` is called every now and then, and ends it by raising what it likes.
        """
        path = self._folder / f"answers-{self._name(plan, status, geo, now, guidance)}.table"
        if path.exists():
            try:
                AnswerTable.open(path)
                path.touch()
            except (SectionError, OSError) as error:
                log.error("table.refused", reason=str(error))
            else:
                self.disk_error = ""
                return path
        rtt = self._map(plan, geo, guidance.latency)
        checkpoint()
        steering = Steering(
            rtt.topology, status, now, vantage=self._vantage, rtt=rtt, prices=guidance.prices
        )
        try:
            self._compile(steering, path, write_atomically, checkpoint)
        except SectionError as error:
            if not self.disk_error:
                log.error("table.save_failed", reason=str(error))
            self.disk_error = str(error)
            return self._compiled_in_memory(steering, checkpoint)
        self.disk_error = ""
        prune(self._folder, "answers-*.table", KEPT)
        return path

    def _map(self, plan: Plan, geo: GeoTable, latency: Latency | None) -> RttMap:
        self._rtt = RttMap.following(self._rtt, plan, geo, latency)
        return self._rtt

    def _compiled_in_memory(self, steering: Steering, checkpoint: Callable[[], None]) -> Path:
        """A table that lives as long as this process keeps it; workers open it by our number."""
        while len(self._in_memory) >= KEPT_IN_MEMORY:
            os.close(self._in_memory.popleft())
        descriptor = os.memfd_create("firsthop-table")
        self._in_memory.append(descriptor)
        path = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
        self._compile(steering, path, write_through, checkpoint)
        return path

    def _compile(
        self,
        steering: Steering,
        path: Path,
        write: Writer,
        checkpoint: Callable[[], None],
    ) -> None:
        plan = steering.topology.plan
        compile_table(
            steering,
            path,
            lambda services: {layout.SECTION: self._zones(plan, services)},
            write=write,
            checkpoint=checkpoint,
        )

    def _name(
        self, plan: Plan, status: Status, geo: GeoTable, now: datetime, guidance: Guidance
    ) -> str:
        """The digest of all that goes in."""
        formats = f"{FORMAT}|{layout.FORMAT}|{geo.digest}|{self._vantage or ''}|"
        digest = hashlib.sha256(formats.encode())
        digest.update(plan.model_dump_json().encode())
        digest.update(status.model_dump_json().encode())
        digest.update("|".join(sorted(expired(plan, now))).encode())
        for each in (guidance.prices, guidance.latency):
            if each is not None:
                digest.update(self._digest(each).encode())
        return digest.hexdigest()[:32]

    def _digest(self, snapshot: Prices | Latency) -> str:
        kind = kind_of(snapshot)
        held = self._digests.get(kind)
        if held is None or held[0] is not snapshot:
            text = f"{kind} {snapshot.model_dump_json()}"
            held = self._digests[kind] = snapshot, hashlib.sha256(text.encode()).hexdigest()
        return held[1]

    def _zones(self, plan: Plan, services: Sequence[CompiledService]) -> bytes:
        serial = plan.number & 0xFFFFFFFF
        if self._static is None or self._static[0] is not plan:
            self._static = plan, static_zones(plan.document, serial)
        return encode_zones(plan.document, serial, services, static=self._static[1])
