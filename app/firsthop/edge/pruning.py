"""Removes the oldest files of cache folders."""

from __future__ import annotations

from pathlib import Path


def prune(folder: Path, pattern: str, kept: int) -> None:
    """Removes all but the newest `kept` files; processes that have mapped one can still use it."""
    files = sorted(folder.glob(pattern), key=lambda each: -each.stat().st_mtime)
    for path in files[kept:]:
        path.unlink(missing_ok=True)
