"""The geo table that an edge uses: from the configured databases, or the bundled one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from firsthop.edge.following.refusals import Refusals
from firsthop.edge.pruning import prune
from firsthop_geodata.errors import GeodataError
from firsthop_geodata.mmdb import open_geodata
from firsthop_geodata.prefixes import GeoTable

TABLES_KEPT = 3


class GeoTableSource:
    """Compiles the databases into `cache`, and again after they change."""

    def __init__(self, city: Path | None, asn: Path | None, *, cache: Path) -> None:
        """`city` and `asn` are MMDB files; None: the bundled database, and no ASNs."""
        self.table: GeoTable | None = None
        self.refusals = Refusals("geodata")
        self._city = city
        self._asn = asn
        self._cache = cache

    @property
    def files(self) -> list[Path]:
        """The files to watch."""
        return [path for path in (self._city, self._asn) if path]

    @property
    def digest(self) -> str:
        """The digest of the table in use; empty if there is none yet."""
        return self.table.digest if self.table else ""

    async def load(self) -> None:
        """Opens the present databases. Raises GeodataError."""
        table = await asyncio.to_thread(open_geodata, self._city, self._asn, self._cache)
        if self.table is None or self.table.digest != table.digest:
            self.table = table
            prune(self._cache, "geo-*.fhg", TABLES_KEPT)
        self.refusals.reason = ""

    async def reload(self) -> None:
        """Like `load`, but if a database is refused, the old one remains in use."""
        try:
            await self.load()
        except Exception as error:
            self.refusals.add(error, GeodataError)
