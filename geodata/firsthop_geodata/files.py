"""Atomic file replacement: written to a temporary file, synced, and renamed over the old one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from firsthop_geodata.errors import GeodataError

Buffer = bytes | memoryview
Writer = Callable[[Path, Iterable[Buffer]], None]
"""Writes chunks to a path, completely or not at all. Raises GeodataError."""


def write_atomically(path: Path, chunks: Iterable[Buffer], *, mode: int = 0o644) -> None:
    """Write ``chunks`` to ``path`` so that readers see the old file or the new, never a part.

    Creates missing folders. Raises :class:`GeodataError` naming the file (permission, no space, a
    folder at ``path``); the old file is then unchanged and no temporary file is left.
    """

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            for chunk in chunks:
                stream.write(chunk)

    replace_atomically(path, fill, mode=mode)


def write_through(path: Path, chunks: Iterable[Buffer]) -> None:
    """Write ``chunks`` in place, for example to an open file under /proc.

    The file must not be read before this returns. Raises :class:`GeodataError`.
    """
    try:
        with path.open("wb") as stream:
            for chunk in chunks:
                stream.write(chunk)
    except OSError as error:
        raise GeodataError(path, f"cannot be written: {error.strerror or error}") from error


def replace_atomically(path: Path, fill: Callable[[Path], None], *, mode: int = 0o644) -> None:
    """Let ``fill`` write (and check) a temporary file, then sync it and rename it to ``path``.

    Exceptions of ``fill`` are passed on, with the temporary file removed; OSErrors become
    :class:`GeodataError`.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        os.close(descriptor)
        fill(temporary)
        temporary.chmod(mode)
        _sync(temporary)
        temporary.replace(path)
        temporary = None
        _sync(path.parent)
    except OSError as error:
        raise GeodataError(path, f"cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
