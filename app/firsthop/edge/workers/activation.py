"""When a table is in use: it is logged once every DNS worker answers from it, and not before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import structlog

log = structlog.get_logger(__name__)


class TableActivation:
    """Compares the table that the workers should use with those that they report."""

    def __init__(self, workers: Sequence[str]) -> None:
        """`workers` are the names of the DNS workers."""
        self._held = dict.fromkeys(workers, "")
        self._wanted = ""
        self._fields: dict[str, object] = {}
        self._logged = ""

    def want(self, path: Path, *, plan: int, status: int) -> None:
        """The workers were told to use this table, of the plan and status with these numbers."""
        self._wanted = str(path)
        self._fields = {"table": path.name, "plan": plan, "status": status}
        self._log()

    def held(self, worker: str, path: str) -> None:
        """A DNS worker answers from the table in this file."""
        self._held[worker] = path
        self._log()

    def _log(self) -> None:
        if self._wanted == self._logged or set(self._held.values()) - {self._wanted}:
            return
        self._logged = self._wanted
        log.info("table.activated", **self._fields)
