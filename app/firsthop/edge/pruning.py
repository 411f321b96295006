"""Cache folders on disk: removes the oldest files."""

from __future__ import annotations

from pathlib import Path


def prune(folder: Path, pattern: str, kept: int) -> None:
    """Removes all but the newest `kept` files; a process that maps a removed one keeps it."""
    files = sorted(folder.glob(pattern), key=lambda each: -each.stat().st_mtime)
    for path in files[kept:]:
        path.unlink(missing_ok=True)
