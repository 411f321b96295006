"""Chooses the account for PostgreSQL, which refuses to run as root or as a user without a name.

If we are not root, it runs as our own user. If we are root and `nobody` can enter the folders, it
runs as `nobody`. If a folder on the path is closed (0700), or our user has no name in the system,
it runs in a user namespace, where we are called `nobody` and keep our files. No users are created.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NOBODY = 65534
_NAMESPACE = ("unshare", "-U", f"--map-user={NOBODY}", f"--map-group={NOBODY}")


class PostgresError(RuntimeError):
    """PostgreSQL cannot be started; the message contains the reason and a remedy."""


@dataclass(frozen=True, slots=True)
class ChildAccount:
    """How to start a child as `uid`: a command prefix, or arguments of subprocess."""

    uid: int
    gid: int
    prefix: tuple[str, ...] = ()

    @property
    def identity(self) -> dict[str, Any]:
        """Keyword arguments of subprocess; empty if the account is our own."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, folder: Path) -> None:
        """Make this account the only owner of `folder`, which contains only the server's files."""
        if os.geteuid() == 0:
            for path in (folder, *_below(folder)):
                with contextlib.suppress(FileNotFoundError):  # removed by a server that is ending
                    self._own_one(path)
        folder.chmod(0o700)

    def _own_one(self, path: Path) -> None:
        held = path.lstat()
        if (held.st_uid, held.st_gid) != (self.uid, self.gid):
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def _below(folder: Path) -> list[Path]:
    return [Path(top) / name for top, dirs, files in os.walk(folder) for name in (*dirs, *files)]


def account_for(home: Path, binaries: Path) -> ChildAccount:
    """The account to run `binaries` with the data in `home`. Raises PostgresError if none can."""
    if os.geteuid() != 0:
        return _ourselves(os.geteuid(), os.getegid())
    closed = _closed(home.parent) or _closed(binaries.resolve())
    if closed is None:
        return ChildAccount(NOBODY, NOBODY)
    if _namespaces_work():
        return ChildAccount(0, 0, _NAMESPACE)
    raise PostgresError(
        f"PostgreSQL refuses to run as root, user nobody cannot enter {closed}, and user namespaces"
        " are not allowed here: use a state folder that others may enter, or FIRSTHOP_DATABASE_URL"
    )


def _ourselves(uid: int, gid: int) -> ChildAccount:
    with contextlib.suppress(KeyError):
        pwd.getpwuid(uid)
        return ChildAccount(uid, gid)
    if _namespaces_work():
        return ChildAccount(uid, gid, _NAMESPACE)
    raise PostgresError(
        f"PostgreSQL refuses to run as user {uid}, who is not in the user database, and user"
        " namespaces are not allowed here: use another user, or FIRSTHOP_DATABASE_URL"
    )


def _closed(folder: Path) -> Path | None:
    """The first folder on the path to `folder`, inclusive, that user `nobody` cannot enter."""
    for each in (folder, *folder.parents):
        status = each.stat()
        mine = status.st_uid == NOBODY and status.st_mode & stat.S_IXUSR
        if not mine and not status.st_mode & stat.S_IXOTH:
            return each
    return None


def _namespaces_work() -> bool:
    if shutil.which(_NAMESPACE[0]) is None:
        return False
    tried = subprocess.run([*_NAMESPACE, "true"], capture_output=True, check=False, timeout=10)  # noqa: S603
    return tried.returncode == 0
