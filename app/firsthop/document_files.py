"""The files of a declarative document: the document itself, and the zone files that it names."""

from __future__ import annotations

import sys
from pathlib import Path

from firsthop_steering.plan.document import Document, load_yaml

DocumentStamp = tuple[int, int]
"""Modification time in ns since 1970, and size; zeros if the file does not exist."""


def stamp_of(path: Path) -> DocumentStamp:
    """The present stamp of a file; if it differs from an earlier one, the file has changed."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


class DocumentFiles:
    """Reads a document; `stamps` has every file that this involved, readable or not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.stamps: dict[Path, DocumentStamp] = {}
        """The stamp of each file, taken before it is read."""

    @property
    def modified_ns(self) -> int:
        """When the newest of the files was modified, in ns since 1970."""
        return max((modified for modified, _ in self.stamps.values()), default=0)

    def load(self) -> Document:
        """The whole document. Raises OSError, UnicodeDecodeError, DocumentError."""
        self.stamps.clear()
        return load_yaml(self._read(self._path), lambda name: self._read(self._path.parent / name))

    def _read(self, path: Path) -> str:
        self.stamps[path] = stamp_of(path)
        return path.read_text(encoding="utf-8-sig")


def read_document(path: Path) -> Document:
    """The document in a file, or on standard input (`-`) with zone files in the working directory.

    Raises OSError, UnicodeDecodeError, DocumentError.
    """
    if str(path) != "-":
        return DocumentFiles(path).load()
    return load_yaml(sys.stdin.read(), lambda name: Path(name).read_text(encoding="utf-8"))
