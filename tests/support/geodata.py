"""The bundled geo database, compiled once for all edges and control planes of a test process."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from firsthop_geodata.mmdb import open_geodata
from support.worlds import folder


@cache
def compiled_geodata() -> Path:
    """A folder that holds the compiled table, as `open_geodata` keeps it."""
    made = folder() / "geodata"
    open_geodata(None, None, made).close()
    return made


def give_geodata(state: Path) -> None:
    """An edge that starts with this state folder finds its geo database compiled."""
    (state / "geodata").mkdir(parents=True, exist_ok=True)
    for table in compiled_geodata().glob("*.fhg"):
        target = state / "geodata" / table.name
        if not target.exists():
            try:
                os.link(table, target)
            except OSError:  # another file system
                target.write_bytes(table.read_bytes())
