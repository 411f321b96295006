"""Table files of an edge: compiled off the hot path, named by what went into them, and kept.

So a restart with unchanged snapshots compiles nothing: the file is there already.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import structlog

from firsthop_dns import layout
from firsthop_dns.zone import encode_zones, static_zones
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.atlas import Atlas
from firsthop_steering.compile import compile_table
from firsthop_steering.decide import Steering
from firsthop_steering.sections import SectionError
from firsthop_steering.snapshot import Plan, Status
from firsthop_steering.table import FORMAT, AnswerTable, CompiledService

log = structlog.get_logger(__name__)

KEPT = 4
"""Table files that stay on disk: workers may still map the one before the newest."""


class TableStore:
    """Builds and finds table files in one folder."""

    def __init__(self, folder: Path, *, vantage: str | None = None) -> None:
        """`vantage`: the edge's own region, for services whose view is local."""
        self._folder = folder
        self._vantage = vantage
        self._atlas: Atlas | None = None
        self._static: tuple[Plan, bytes] | None = None
        """The zones' own records, which no status changes."""
        folder.mkdir(parents=True, exist_ok=True)

    def build(self, plan: Plan, status: Status, geo: GeoTable, now: datetime) -> Path:
        """The table of these inputs; blocks for as long as the compilation takes."""
        digest = _inputs_digest(plan, status, geo, now, self._vantage)
        path = self._folder / f"answers-{digest}.table"
        if path.exists():
            try:
                AnswerTable.open(path)
                path.touch()
            except SectionError as error:
                log.error("kept table refused", reason=str(error))
            else:
                return path
        atlas = self._atlas
        if atlas is None or atlas.plan is not plan or atlas.geo is not geo:
            atlas = self._atlas = Atlas(plan, geo)
        steering = Steering(atlas, status, now, vantage=self._vantage)
        compile_table(
            steering,
            path,
            lambda services: {layout.SECTION: self._zones(plan, services)},
        )
        forget_old(self._folder, "answers-*.table", KEPT)
        return path

    def _zones(self, plan: Plan, services: Sequence[CompiledService]) -> bytes:
        serial = plan.number & 0xFFFFFFFF
        if self._static is None or self._static[0] is not plan:
            self._static = plan, static_zones(plan.document, serial)
        return encode_zones(plan.document, serial, services, static=self._static[1])


def forget_old(folder: Path, pattern: str, kept: int) -> None:
    """Removes all but the newest files of a cache; who maps one keeps it."""
    files = sorted(folder.glob(pattern), key=lambda each: -each.stat().st_mtime)
    for path in files[kept:]:
        path.unlink(missing_ok=True)


def _inputs_digest(
    plan: Plan, status: Status, geo: GeoTable, now: datetime, vantage: str | None
) -> str:
    formats = f"{FORMAT}|{layout.FORMAT}|{geo.digest}|{vantage or ''}|"
    digest = hashlib.sha256(formats.encode())
    digest.update(plan.model_dump_json().encode())
    digest.update(status.model_dump_json().encode())
    digest.update("|".join(sorted(ended(plan, now))).encode())
    return digest.hexdigest()[:32]


def ended(plan: Plan, now: datetime) -> frozenset[str]:
    """The overrides and the operators' words on relays that hold no more at `now`."""
    overrides = (f"override {each.id}" for each in plan.document.overrides if not each.active(now))
    words = (
        f"relay {each.id}"
        for each in plan.document.relays
        if each.forced is not None and not each.forced.active(now)
    )
    return frozenset((*overrides, *words))
