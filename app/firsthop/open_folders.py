"""Folders that other accounts may enter; all others are closed to them by our umask."""

from __future__ import annotations

from pathlib import Path


def make_passable(folder: Path) -> None:
    """Make a folder through which others may pass, but which they cannot list.

    PostgreSQL, which refuses to run as root, must reach its own folder in it. A folder that exists
    keeps its mode.
    """
    _make(folder, 0o711)


def make_readable(folder: Path) -> None:
    """Make a folder whose files others may read if the files' modes permit; see `make_passable`."""
    _make(folder, 0o755)


def _make(folder: Path, mode: int) -> None:
    if not folder.exists():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
