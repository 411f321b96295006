"""Table files of an edge, compiled from snapshots and named by the digest of their inputs.

So a restart with unchanged snapshots compiles nothing: the file already exists. If the disk does
not accept a table, it is kept in memory and used from there.
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
"""Number of table files kept on disk: workers may still have mapped the second newest."""
KEPT_IN_MEMORY = 2
"""Number of tables kept in memory: the newest, and the one that a worker may be about to open."""


class TableStore:
    """Builds and finds table files in one folder."""

    def __init__(self, folder: Path, *, vantage: str | None = None) -> None:
        """`vantage`: the edge's region, for services with a local view."""
        self.disk_error = ""
        """Why the newest table is in memory only; empty if it is on disk."""
        self._folder = folder
        self._vantage = vantage
        self._in_memory: deque[int] = deque()
        """File descriptors of the tables in memory."""
        self._rtt: RttMap | None = None
        """Kept, with its topology, when status or prices change."""
        self._digests: dict[str, tuple[Prices | Latency, str]] = {}
        """Digests of the newest prices and latency, by kind: one may have megabytes."""
        self._static: tuple[Plan, bytes] | None = None
        """The compiled records of the zones, which do not depend on the status."""
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def rtt(self) -> RttMap | None:
        """The RTT map of the last compiled table; None if none was compiled."""
        return self._rtt

    def has_mapped(self, plan: Plan, geo: GeoTable, latency: Latency | None) -> bool:
        """Whether an RTT map of `latency` exists, or one must be made for any latency."""
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
        """The table of these inputs; blocks while it is compiled.

        `checkpoint` is called from time to time; an exception that it raises ends the compilation.
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
        """A table in memory, which workers open through the file descriptor of this process."""
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
        """The digest of all inputs."""
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
