"""A real PostgreSQL for the session, a database for each test, and control planes over it.

Every run has folders and a server of its own, so xdist workers and two clones never meet.
"""

from __future__ import annotations

import contextlib
import io
import json as jsonlib
import shutil
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
import pytest_asyncio
import structlog

from field.namespaces import why_not
from field.world import Field
from firsthop.controlplane.process import ControlPlaneOptions, running_controlplane
from firsthop.postgres.server import EmbeddedPostgres
from firsthop_controlplane.configuration.change_impact import Explain
from firsthop_controlplane.settings import Settings
from firsthop_controlplane.store.migrate import migrate
from firsthop_geodata.prefixes import GeoTable

TEMPLATE = "firsthop_template"
SPEED_OVER_SAFETY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@pytest.fixture(autouse=True)
def _log_beside_stdout() -> Iterator[None]:
    """What a control plane of this process logs is no part of what a command prints meanwhile."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stderr__))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def short_dir() -> Iterator[Path]:
    """A folder with a short path, which the server's account may enter."""
    folder = Path(tempfile.mkdtemp(prefix="fh-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module", name="field")
def field_fixture() -> Iterator[Field]:
    """One deployment in network namespaces for all tests of a module.

    Each leaves it as it was. Only here, as other workers of a run would make one of their own.
    """
    if reason := why_not():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="fh-", dir="/tmp"))
    folder.chmod(0o755)
    with Field(folder) as made:
        yield made
        broken = made.broken()
    shutil.rmtree(folder, ignore_errors=True)
    assert not broken


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres(short_dir: Path) -> AsyncIterator[EmbeddedPostgres]:
    """The session's server, with a migrated template database."""
    async with EmbeddedPostgres(short_dir, settings=SPEED_OVER_SAFETY) as server:
        await _execute(server, f"CREATE DATABASE {TEMPLATE}")
        await migrate(server.url_of(TEMPLATE))
        yield server


async def _execute(server: EmbeddedPostgres, statement: str) -> None:
    connection = await asyncpg.connect(server.url_of("postgres"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest_asyncio.fixture
async def own_server() -> AsyncIterator[EmbeddedPostgres]:
    """A server that this test may stop."""
    folder = Path(tempfile.mkdtemp(prefix="fh-", dir="/tmp"))
    folder.chmod(0o755)  # noqa: ASYNC240
    server = EmbeddedPostgres(folder, settings={"fsync": "off"})
    await server.start()
    yield server
    await server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture
async def database_url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """A migrated, empty store of this test's own."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    await _execute(postgres, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield postgres.url_of(name)
    await _execute(postgres, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, read whole."""

    status: int
    headers: Any
    body: Any

    @property
    def etag(self) -> dict[str, str]:
        return {"If-Match": self.headers["ETag"]}

    @property
    def rules(self) -> dict[str, str]:
        """field → rule of a problem document."""
        return {each["field"]: each["rule"] for each in self.body["errors"]}


@dataclass(slots=True)
class Api:
    """A client of one control plane, with its admin token unless told otherwise."""

    url: str
    state_dir: Path
    session: aiohttp.ClientSession
    stop: Callable[[], Awaitable[None]]
    """Ends the control plane, as SIGTERM does."""
    token: str = field(default="", repr=False)

    async def call(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
    ) -> Answer:
        sent = {"Authorization": f"Bearer {token or self.token}"} | (headers or {})
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        if json is not None:
            data = jsonlib.dumps(json).encode()
            sent["Content-Type"] = "application/json"
        body = None if data is None else io.BytesIO(data)
        async with self.session.request(
            method, self.url + path, data=body, headers=sent
        ) as response:
            raw = await response.read()
            is_json = "json" in response.content_type
            body = await response.json(content_type=None) if raw and is_json else raw
            return Answer(response.status, response.headers, body)

    async def get(self, path: str, **more: Any) -> Answer:
        return await self.call("GET", path, **more)

    async def made(self, path: str, json: Any, **more: Any) -> Answer:
        """POST that must make something."""
        answer = await self.call("POST", path, json, **more)
        assert answer.status == 201, answer
        return answer

    async def patch(self, path: str, json: Any, **more: Any) -> Answer:
        """PATCH from the version that is there now."""
        return await self.call("PATCH", path, json, headers=(await self.get(path)).etag, **more)

    async def delete(self, path: str, **more: Any) -> Answer:
        """DELETE of the version that is there now."""
        return await self.call("DELETE", path, headers=(await self.get(path)).etag, **more)

    async def token_of(self, role: str, scope: str | None = None) -> str:
        """The secret of a new token; a prober's is for the vantage `a` unless another is named."""
        scope = "a" if role == "prober" and scope is None else scope
        body = {"name": f"{role}-{uuid.uuid4().hex[:6]}", "role": role, "scope": scope}
        return str((await self.made("/v1/tokens", body)).body["secret"])


StartApi = Callable[..., Awaitable[Api]]


@pytest_asyncio.fixture
async def start_api(database_url: str, tmp_path: Path) -> AsyncIterator[StartApi]:
    """Start control planes over this test's store; those of one state folder share its secrets."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(
            *,
            url: str = database_url,
            state_dir: Path = tmp_path / "state",
            explain: Explain | None = None,
            geo: GeoTable | None = None,
            bootstrap_tokens: Path | None = None,
            **settings: Any,
        ) -> Api:
            options = ControlPlaneOptions(
                settings=Settings(database_url=url, port=0, **{"allow_loopback": True, **settings}),
                state_dir=state_dir,
                bootstrap_tokens=bootstrap_tokens,
            )
            own = await stack.enter_async_context(contextlib.AsyncExitStack())
            (base,) = await own.enter_async_context(running_controlplane(options, explain, geo))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            token = (state_dir / "admin.token").read_text().strip()
            return Api(base, state_dir, session, own.aclose, token)

        yield start


@pytest_asyncio.fixture
async def api(start_api: StartApi) -> Api:
    """One control plane over an empty store."""
    return await start_api()
