"""The commands as processes: start, signals, ports, apply, export, tokens; and PostgreSQL's."""

# ruff: noqa: ASYNC240 - a test may wait for its own files

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import asyncpg
import pytest
import typer
from typer.testing import CliRunner

from firsthop.commands import controlplane as commands
from firsthop.commands import token as token_commands
from firsthop.postgres.account import account_for
from firsthop.postgres.server import EmbeddedPostgres, PostgresError
from support.waiting import DEADLINE_S, eventually

pytestmark = [pytest.mark.database, pytest.mark.e2e]
FAST = {"fsync": "off"}
DOCUMENT = """\
regions:
  - {id: fra, latitude: 50.11, longitude: 8.68}
relays:
  - {id: fra-1, region: fra, ipv4: 127.0.10.1}
overrides:
  - {id: lan, cidr: 10.0.0.0/8, regions: [fra], mode: only}
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _firsthop(*arguments: str, environment: dict[str, str]) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "firsthop", *arguments),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    return process.returncode or 0, out.decode(), err.decode()


async def _command(
    *arguments: str, environment: dict[str, str], stdin: str = ""
) -> tuple[int, str, str]:
    """The same without a process of its own, for what only calls the API."""
    app = typer.Typer()
    for name, command in (("apply", commands.apply), ("export", commands.export)):
        app.command(name)(command)
    app.add_typer(token_commands.app, name="token")
    run = CliRunner().invoke
    result = await asyncio.to_thread(run, app, arguments, env=environment, input=stdin)
    return result.exit_code, result.stdout, result.stderr


@contextlib.asynccontextmanager
async def _serving(environment: dict[str, str], url: str) -> AsyncIterator[Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "firsthop", "controlplane"),
        env={**os.environ, **environment},
        stderr=asyncio.subprocess.DEVNULL,
    )

    async def ready() -> bool:
        assert process.returncode is None
        with contextlib.suppress(aiohttp.ClientError):
            async with aiohttp.ClientSession() as session, session.get(url + "/readyz") as answer:
                return answer.status == 200
        return False

    try:
        await eventually(ready, "the control plane is ready")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_the_commands_over_one_store(database_url: str, tmp_path: Path) -> None:
    """apply, export, token create; SIGTERM ends it though a reader of the stream stays."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    server = {
        "FIRSTHOP_DATABASE_URL": database_url,
        "FIRSTHOP_STATE_DIR": str(tmp_path),
        "FIRSTHOP_CONTROLPLANE_LISTEN": f"127.0.0.1:{port}",
    }
    client = {"FIRSTHOP_API_URL": url, "FIRSTHOP_STATE_DIR": str(tmp_path)}
    async with _serving(server, url) as process:
        file = tmp_path / "plan.yaml"
        file.write_text(DOCUMENT)
        code, out, _ = await _command("apply", "-f", str(file), "--dry-run", environment=client)
        assert (code, out.splitlines()[-1]) == (0, "dry run: 3 changes, nothing was stored")
        code, out, _ = await _command("apply", "-f", str(file), environment=client)
        assert (code, out.splitlines()[-1]) == (0, "revision 1")
        code, exported, _ = await _command("export", environment=client)
        code, out, _ = await _command("apply", "-f", "-", environment=client, stdin=exported)
        assert (code, out) == (0, "nothing differs\n")
        code, _, err = await _command(
            "apply", "-f", "-", environment=client, stdin=DOCUMENT.replace("50.11", "500")
        )
        assert code == 1
        assert "line 2" in err
        code, secret, _ = await _command(
            *("token", "create", "--name", "e1", "--role", "edge"), environment=client
        )
        assert code == 0
        code, other, _ = await _command(
            *("token", "create", "--name", "e2", "--role", "edge"),
            environment={"FIRSTHOP_DATABASE_URL": database_url},
        )
        assert code == 0
        code, _, err = await _firsthop("controlplane", environment=server)
        assert (code, err.strip().splitlines()[-1]) == (
            1,
            f"firsthop: controlplane: port {port} of 127.0.0.1 is in use",
        )
        for each in (secret, other):
            await _ends_quickly_with_a_stream(url, each.strip(), process if each is other else None)


async def _ends_quickly_with_a_stream(url: str, secret: str, process: Any) -> None:
    headers = {"Authorization": f"Bearer {secret}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{url}/v1/snapshots/stream") as stream,
    ):
        assert stream.status == 200
        await stream.content.readuntil(b"\n")
        if process is not None:
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), DEADLINE_S) == 0


async def test_a_start_that_cannot_be_says_why_in_one_line(tmp_path: Path) -> None:
    """Exit code 1, no traceback."""
    for command, url, reason in (
        ("controlplane", "mysql://x/y", "must be postgresql://"),
        ("migrate", "not a url", "not a valid URL"),
    ):
        environment = {"FIRSTHOP_DATABASE_URL": url, "FIRSTHOP_STATE_DIR": str(tmp_path)}
        code, _, err = await _firsthop(command, environment=environment)
        assert code == 1
        assert reason in err.strip().splitlines()[-1]
        assert "Traceback" not in err


@pytest.fixture
def folder() -> Iterator[Path]:
    """A state folder with a short path, closed to others or not."""
    path = Path(tempfile.mkdtemp(prefix="fh-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


async def _select(server: EmbeddedPostgres, query: str) -> Any:
    connection = await asyncpg.connect(server.url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


@pytest.mark.parametrize("mode", [0o755, 0o700])
async def test_the_server_runs_without_root_and_keeps_its_data(folder: Path, mode: int) -> None:
    """As nobody, or in a user namespace where others may not enter; data outlive a restart."""
    folder.chmod(mode)
    state = folder / "state"
    for number in range(2):
        async with EmbeddedPostgres(state, settings=FAST) as server:
            assert server.pid is not None
            status = Path(f"/proc/{server.pid}/status").read_text()
            assert "PPid:\t" + str(os.getpid()) in status
            await _select(server, "CREATE TABLE IF NOT EXISTS kept (x int)")
            await _select(server, "INSERT INTO kept VALUES (1)")
            assert await _select(server, "SELECT count(*) FROM kept") == number + 1
            with pytest.raises(PostgresError, match="in use by another"):
                await EmbeddedPostgres(state, settings=FAST).start()
    assert (folder.stat().st_mode & 0o777) == mode, "no mode outside the server's folder changes"
    if os.geteuid() == 0:
        account = account_for(state / "postgres", Path(sys.prefix))
        assert (account.prefix == ()) == (mode == 0o755)


async def test_a_long_state_path_gets_a_short_socket(folder: Path) -> None:
    """The socket's path has 107 bytes at most; its folder goes with the server.

    A server that is started again has the URL that it had.
    """
    folder.chmod(0o755)
    state = folder / ("x" * 100)
    urls = []
    for _ in range(2):
        async with EmbeddedPostgres(state, settings=FAST) as server:
            assert await _select(server, "SELECT 1") == 1
            socket_folder = Path(parse_qs(urlsplit(server.url).query)["host"][0])
            assert (socket_folder / ".s.PGSQL.5432").is_socket()
            urls.append(server.url)
        assert not socket_folder.exists()
    assert urls[0] == urls[1]


async def test_a_socket_folder_of_somebody_else_is_refused(folder: Path) -> None:
    """What lies at its place and is no folder of ours is neither used nor removed."""
    folder.chmod(0o755)
    state = folder / ("y" * 100)
    async with EmbeddedPostgres(state, settings=FAST) as server:
        place = Path(parse_qs(urlsplit(server.url).query)["host"][0])
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    place.symlink_to(elsewhere)
    try:
        with pytest.raises(PostgresError, match="must be a folder that we own"):
            await EmbeddedPostgres(state, settings=FAST).start()
        assert elsewhere.exists()
    finally:
        place.unlink()


OWNER = """
import asyncio, sys
from pathlib import Path
from firsthop.postgres.server import EmbeddedPostgres
async def main():
    async with EmbeddedPostgres(Path(sys.argv[1]), settings={'fsync': 'off'}) as server:
        print(server.pid, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.parametrize("victim", ["parent", "server"])
async def test_kill_9_of_the_parent_or_the_server_is_recovered_from(
    folder: Path, victim: str
) -> None:
    """The next start works at once, without a hand; a killed parent takes its server along."""
    folder.chmod(0o755)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWNER, str(folder)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    pid = int(await asyncio.wait_for(process.stdout.readline(), DEADLINE_S))
    if victim == "server":
        os.kill(pid, signal.SIGKILL)
    process.kill()
    await process.wait()
    async with EmbeddedPostgres(folder, settings=FAST) as server:
        assert server.pid != pid
        assert await _select(server, "SELECT 1") == 1
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


async def test_a_stale_pid_file_of_a_stranger_does_not_stop_a_start(folder: Path) -> None:
    """After a reboot the number may be anybody's, ours included."""
    folder.chmod(0o755)
    async with EmbeddedPostgres(folder, settings=FAST):
        pass
    file = folder / "postgres" / "data" / "postmaster.pid"
    file.write_text(f"{os.getpid()}\n{file.parent}\n1\n5432\n\n\n\n")
    async with EmbeddedPostgres(folder, settings=FAST) as server:
        assert await _select(server, "SELECT 1") == 1
    file.write_text("nonsense")
    async with EmbeddedPostgres(folder, settings=FAST) as server:
        assert await _select(server, "SELECT 1") == 1


async def test_a_folder_of_another_version_is_refused_by_name(folder: Path) -> None:
    """Not started, not touched."""
    folder.chmod(0o755)
    async with EmbeddedPostgres(folder, settings=FAST):
        pass
    (folder / "postgres" / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(PostgresError, match="made by PostgreSQL 9"):
        await EmbeddedPostgres(folder, settings=FAST).start()
