"""An embedded PostgreSQL server, run as a child process if no database URL is given.

It needs no root and does not change the system: it creates no users, changes no mode or owner
outside its own folder, and listens on no network port. This module does not depend on the tables.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import hashlib
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO
from urllib.parse import urlencode

from firsthop.postgres.account import ChildAccount, PostgresError, account_for
from firsthop.postgres.binaries import URL_VARIABLE, find_binaries
from firsthop.postgres.orphan import end_orphan
from firsthop.process.ending import end_process

NAME = "firsthop"
"""Name of the database, and of the role that owns it."""
PORT = 5432
"""Only used in the name of the socket file: there is no TCP listener."""
SOCKET_PATH_LIMIT = 107
"""Octets in a path: sun_path has 108 bytes including its terminator (unix(7))."""
START_LIMIT_S = 60.0
"""Crash recovery of a store of this size takes seconds; the rest is a reserve for slow disks."""
STOP_LIMIT_S = 5.0
LOG_LIMIT = 8 * 2**20

__all__ = ["EmbeddedPostgres", "PostgresError", "find_binaries"]

_STILL_IN_USE = "pre-existing shared memory block"
_PR_SET_PDEATHSIG = 1
_STOP_SIGNALS = (signal.SIGINT, signal.SIGQUIT)
"""A fast shutdown, then an immediate one."""
_libc = ctypes.CDLL(None, use_errno=True)


class EmbeddedPostgres:
    """One server in `<state_dir>/postgres`, which ends when we end.

    `settings` are server parameters (`{"fsync": "off"}`) that extend or replace our own.
    """

    def __init__(self, state_dir: Path, *, settings: Mapping[str, str] | None = None) -> None:
        self.home = state_dir.resolve() / "postgres"
        self._settings = dict(settings or {})
        self._lock: IO[str] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._socket_dir = self.home

    async def __aenter__(self) -> EmbeddedPostgres:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """The URL, in the form that libpq, psql and the control plane accept."""
        return self.url_of(NAME)

    def url_of(self, database: str) -> str:
        """The URL of another database of this server."""
        where = urlencode({"host": str(self._socket_dir), "port": PORT}, safe="/")
        return f"postgresql://{NAME}@/{database}?{where}"

    async def died(self) -> None:
        """Return when the server's process has ended, for any reason."""
        if self._process is not None:
            await self._process.wait()

    @property
    def pid(self) -> int | None:
        """The server's process id; None if it does not run."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if alive and self._process else None

    async def start(self) -> None:
        """Start the server; return when it answers.

        Raises PostgresError if there are no binaries or no account to run as, another process uses
        the folder, or the server ends (then with the last lines of its log).
        """
        binaries = find_binaries()
        self.home.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            account = account_for(self.home, binaries)
            account.own(self.home)
            self._socket_dir = self._short_enough(account)
            data = self.home / "data"
            locks = (data / "postmaster.pid", self._socket_dir / f".s.PGSQL.{PORT}.lock")
            await end_orphan(data, locks, STOP_LIMIT_S)
            await self._initialise(binaries, account)
            await self._serve(binaries, account)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop fast (open transactions are rolled back), then with more force; never raises."""
        process, self._process = self._process, None
        if process is not None:
            requests = (partial(process.send_signal, each) for each in _STOP_SIGNALS)
            await end_process(process, *requests, grace_s=STOP_LIMIT_S)
        if self._socket_dir != self.home:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
            self._socket_dir = self.home
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_lock(self) -> None:
        """Lock the folder, so that a second start does not mistake our server for an orphan."""
        lock = (self.home.parent / "postgres.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise PostgresError(
                f"the state folder {self.home.parent} is in use by another firsthop"
            ) from None
        self._lock = lock

    def _short_enough(self, account: ChildAccount) -> Path:
        if len(os.fsencode(self.home / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_LIMIT:
            return self.home
        # Named after its state folder, so that a restarted server has the same URL.
        name = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
        folder = Path("/tmp") / f"firsthop-{name}"  # noqa: S108 - it is ours, or refused
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        held = folder.lstat()
        if not stat.S_ISDIR(held.st_mode) or held.st_uid not in (os.geteuid(), account.uid):
            raise PostgresError(f"{folder}, for PostgreSQL's socket, must be a folder that we own")
        account.own(folder)
        return folder

    async def _initialise(self, binaries: Path, account: ChildAccount) -> None:
        """Run initdb in a scratch folder, then rename it, so that an incomplete one is not used."""
        data, fresh = self.home / "data", self.home / "data.new"
        if (data / "PG_VERSION").exists():
            return await _same_version(binaries, account, data)
        shutil.rmtree(fresh, ignore_errors=True)
        made = await _output(
            account,
            [
                *(str(binaries / "initdb"), "--pgdata", str(fresh), "--username", NAME),
                # The socket is in a folder that only this account (and root) can enter.
                *("--auth-local", "trust", "--auth-host", "reject"),
                *("--encoding", "UTF8", "--locale", "C", "--no-instructions"),
                *(["--no-sync"] if self._settings.get("fsync") == "off" else []),
            ],
            self.home,
        )
        if made[0] != 0:
            raise PostgresError(f"initdb failed: {made[1].strip()[-800:]}")
        fresh.rename(data)
        return None

    async def _serve(self, binaries: Path, account: ChildAccount) -> None:
        """Launch the server, and again if processes of a killed server are still ending."""
        deadline = asyncio.get_running_loop().time() + STOP_LIMIT_S
        while True:
            await self._launch(binaries, account)
            try:
                return await self._answering()
            except PostgresError as error:
                late = asyncio.get_running_loop().time() > deadline
                if late or _STILL_IN_USE not in str(error):
                    raise
            await asyncio.sleep(0.1)

    async def _launch(self, binaries: Path, account: ChildAccount) -> None:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._socket_dir),
            "unix_socket_permissions": "0700",
            "port": str(PORT),
            "shared_buffers": "32MB",
            "max_connections": "100",
            **self._settings,
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        log = self.home / "log"
        if log.exists() and log.stat().st_size > LOG_LIMIT:
            log.replace(self.home / "log.1")
        # The folder belongs to the server's account: do not follow links in it.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        with os.fdopen(os.open(log, flags, 0o600), "ab") as sink:
            self._process = await asyncio.create_subprocess_exec(
                *account.prefix,
                *(str(binaries / "postgres"), "-D", str(self.home / "data"), *options),
                cwd=self.home,
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                # Only we must receive Ctrl-C, as the server must stop last.
                start_new_session=True,
                preexec_fn=_die_with_parent,
                **account.identity,
            )

    async def _answering(self) -> None:
        import asyncpg

        deadline = asyncio.get_running_loop().time() + START_LIMIT_S
        while True:
            try:
                admin = self.url_of("postgres")
                connection = await asyncpg.connect(admin, timeout=5, command_timeout=30)
                break
            except (OSError, asyncpg.PostgresError, TimeoutError) as error:
                if self._process is None or self._process.returncode is not None:
                    raise PostgresError(f"PostgreSQL did not start: {self._log_tail()}") from None
                if asyncio.get_running_loop().time() > deadline:
                    raise PostgresError(f"PostgreSQL does not answer: {error}") from None
                await asyncio.sleep(0.02)
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", NAME):
                await connection.execute(f'CREATE DATABASE "{NAME}"')
        finally:
            await connection.close()

    def _log_tail(self) -> str:
        lines = (self.home / "log").read_text(errors="replace").splitlines()
        return " | ".join(lines[-4:]) or "its log is empty"


_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _die_with_parent() -> None:
    """In the child, before exec: request a fast shutdown when our process ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


async def _same_version(binaries: Path, account: ChildAccount, data: Path) -> None:
    made_by = (data / "PG_VERSION").read_text().strip()
    _, version = await _output(account, [str(binaries / "postgres"), "--version"], data.parent)
    if f" {made_by}." not in version and not version.strip().endswith(f" {made_by}"):
        raise PostgresError(
            f"{data} was made by PostgreSQL {made_by}, but {binaries} has {version.strip()}:"
            f" upgrade it with pg_upgrade, or set {URL_VARIABLE} to the URL of a server"
        )


async def _output(account: ChildAccount, command: Sequence[str], cwd: Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *account.prefix,
        *command,
        cwd=cwd,
        env=_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=_die_with_parent,
        **account.identity,
    )
    text, _ = await process.communicate()
    return process.returncode or 0, text.decode(errors="replace")
