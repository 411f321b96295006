"""Key and route files that may change while in use: checked, read, and reloaded on change."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from firsthop_ice.region_keys import RegionKeys
from firsthop_ice.ufrag import RouteKeys
from firsthop_relay.flows.route_text import RouteError, read_routes
from firsthop_relay.flows.routes import RouteTable

KEYS_SIZE = 64 * 1024  # 64 keys take 5 KiB
ROUTES_SIZE = 16 * 1024 * 1024
_TOO_OPEN = 0o027  # the group may read (mounted secrets), others may not

FileStamp = tuple[int, ...]


class FileError(Exception):
    """A file that cannot be used, and why; content loaded earlier stays in force."""


class WatchedFile:
    """One path, at which the file may be replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: FileStamp | None = None

    def read(self, limit: int, *, secret: bool) -> bytes:
        """The file's first `limit` bytes. Raises FileError that names the file and the fault."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                self._stamp = _stamp(status)
                if not stat.S_ISREG(status.st_mode):
                    raise FileError(f"{self.path}: not a regular file")
                mode = stat.S_IMODE(status.st_mode)
                if secret and mode & _TOO_OPEN:
                    raise FileError(f"{self.path}: mode {mode:04o} is too open, use 0600")
                return file.read(limit)
        except OSError as error:
            raise FileError(f"{self.path}: {error.strerror}") from error

    def changed(self) -> bool:
        """Whether the file was replaced or written since it was read or since the last True."""
        try:
            stamp = _stamp(self.path.stat())
        except OSError:
            return False  # while the file is missing, the loaded content stays in force
        before, self._stamp = self._stamp, stamp
        return stamp != before


class KeyFile(WatchedFile):
    """JSON of route keys (`RouteKeys.from_json`), mode 0600 or 0640."""

    def load(self) -> RouteKeys:
        """Read the file now. Raises FileError."""
        try:
            return RouteKeys.from_json(self.read(KEYS_SIZE, secret=True))
        except ValueError as error:
            raise FileError(f"{self.path}: {error}") from error


class RegionKeyFile(WatchedFile):
    """JSON of a region's password keys (`RegionKeys.from_json`), mode 0600 or 0640."""

    def load(self) -> RegionKeys:
        """Read the file now. Raises FileError."""
        try:
            return RegionKeys.from_json(self.read(KEYS_SIZE, secret=True))
        except ValueError as error:
            raise FileError(f"{self.path}: {error}") from error


class RouteFile(WatchedFile):
    """YAML or JSON of routes (`read_routes`)."""

    def load(self) -> RouteTable:
        """Read the file now. Raises FileError."""
        try:
            return read_routes(self.read(ROUTES_SIZE, secret=False))
        except RouteError as error:
            raise FileError(f"{self.path}: {error}") from error


def _stamp(status: os.stat_result) -> FileStamp:
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size
