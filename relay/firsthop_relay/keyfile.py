"""Keys on disk: read with care, and again when they change."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from firsthop_steering.ufrag import RouteKeys

MAX_SIZE = 64 * 1024  # 64 keys take 5 KiB
_TOO_OPEN = 0o027  # group may read (mounted secrets), others may not even that

Stamp = tuple[int, int, int]
Keys = TypeVar("Keys")


class KeyFileError(Exception):
    """A key file that cannot be used, and why; keys already loaded stay in force."""


class SecretFile(Generic[Keys]):
    """One file of mode 0600 or 0640; `read` makes keys of it, or ValueError says what is wrong."""

    def __init__(self, path: Path, read: Callable[[bytes], Keys]) -> None:
        self.path = path
        self._read = read
        self._stamp: Stamp | None = None

    def load(self) -> Keys:
        """Read it now. Raises KeyFileError that names the file and the fault."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                self._stamp = _stamp(status)
                if not stat.S_ISREG(status.st_mode):
                    raise KeyFileError(f"{self.path}: not a regular file")
                mode = stat.S_IMODE(status.st_mode)
                if mode & _TOO_OPEN:
                    raise KeyFileError(f"{self.path}: mode {mode:04o} is too open, use 0600")
                return self._read(file.read(MAX_SIZE))
        except OSError as error:
            raise KeyFileError(f"{self.path}: {error.strerror}") from error
        except ValueError as error:
            raise KeyFileError(f"{self.path}: {error}") from error

    def changed(self) -> bool:
        """Whether the file is another one, or was written, since `load` or the last True."""
        try:
            stamp = _stamp(self.path.stat())
        except OSError:
            return False  # the keys in force stay while it is missing
        before, self._stamp = self._stamp, stamp
        return stamp != before


class KeyFile(SecretFile[RouteKeys]):
    """One JSON file of route keys (`RouteKeys.from_json`)."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, RouteKeys.from_json)


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_ino, status.st_mtime_ns, status.st_size
