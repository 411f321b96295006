"""The files of a declarative document: the document itself, and the zone files that it names.

Whoever writes a document need not be allowed to read what the process reading it can: in CI it
comes from a pull request. So it names zone files below its own folder only.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from firsthop_steering.plan.document import Document, DocumentFault, load_yaml
from firsthop_zones.faults import text_of

DocumentStamp = tuple[int, int, int, int]
"""Modification time in ns since 1970, size, inode and time of status change, which no program can
set back; zeros if the file does not exist."""
MAX_OCTETS = 64 * 2**20
"""Maximum size of a document and its zone files together; a million records take 40 MiB."""


def stamp_of(path: Path) -> DocumentStamp:
    """The present stamp of a file; if it differs from an earlier one, the file has changed."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns


class DocumentFiles:
    """Reads a document; `stamps` has every file that this involved, readable or not."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = MAX_OCTETS
        self.stamps: dict[Path, DocumentStamp] = {}
        """The stamp of each file, taken before it is read."""

    @property
    def modified_ns(self) -> int:
        """When the newest of the files was modified, in ns since 1970."""
        return max((modified for modified, *_ in self.stamps.values()), default=0)

    def load(self, also: Callable[[Document], Iterable[DocumentFault]] = lambda _: ()) -> Document:
        """The whole document; `also` as of `load_yaml`. Raises OSError and DocumentError."""
        self.stamps.clear()
        self._left = MAX_OCTETS
        self.stamps[self._path] = stamp_of(self._path)
        with self._path.open("rb") as file:
            text = self._text(file.read(self._left + 1), str(self._path))
        return load_yaml(text, self.zone_file, also=also)

    def load_from_stdin(self) -> Document:
        """Like `load`, with the document on standard input; zone files are relative to `path`."""
        self._left = MAX_OCTETS
        text = self._text(sys.stdin.buffer.read(self._left + 1), "standard input")
        return load_yaml(text, self.zone_file)

    def zone_file(self, name: str) -> str:
        """The text of a file below the document's folder, relative to it.

        Raises OSError, and ValueError if it may not be read.
        """
        folder = self._path.parent
        try:
            real = (folder / name).resolve()
        except RuntimeError:  # before Python 3.13
            raise ValueError("is a link that leads to itself") from None
        if not real.is_relative_to(folder.resolve()):
            raise ValueError("must be a file below the document's folder, and no link out of it")
        self.stamps[folder / name] = stamp_of(real)
        with open(real, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("must be a regular file")
            return self._text(file.read(self._left + 1), name)

    def _text(self, octets: bytes, source: str) -> str:
        self._left -= len(octets)
        if self._left < 0:
            raise OSError(f"the document and its zone files have more than {MAX_OCTETS} octets")
        return text_of(octets, source)


def _without_waiting(path: str, flags: int) -> int:
    """Opens neither a link, which was resolved before, nor waits for the writer of a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def read_document(path: Path) -> Document:
    """The document in a file, or on standard input (`-`) with zone files in the working directory.

    Raises OSError, DocumentError.
    """
    files = DocumentFiles(path)
    return files.load_from_stdin() if str(path) == "-" else files.load()
