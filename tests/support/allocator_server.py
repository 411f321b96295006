"""An allocator on a port of its own, and a client of it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import aiohttp

from firsthop_allocator.allocations.state import Holder
from firsthop_allocator.settings import AllocatorSettings
from firsthop_allocator.worker import serve
from support.allocator_world import state_of
from support.waiting import DEADLINE_S

TOKEN = "a-token-for-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
DIGESTS = frozenset([hashlib.sha256(TOKEN.encode()).hexdigest()])
SETTINGS = AllocatorSettings(token_digests=DIGESTS)
HEAD = b"POST /v1/allocations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a-token-for-tests\r\n"
LOOPBACK = (ip_network("127.0.0.0/8"),)


@dataclass
class Running:
    """A server on a port of its own, and a client of it."""

    port: int
    holder: Holder
    session: aiohttp.ClientSession
    stop: asyncio.Event
    task: asyncio.Task[None]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def post(
        self, body: Any = None, headers: Mapping[str, str] = BEARER, **options: Any
    ) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        """Status, document and header fields of one allocation."""
        data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        async with self.session.post(
            f"{self.url}/v1/allocations", data=data, headers=headers, **options
        ) as response:
            return response.status, await response.json(content_type=None), response.headers

    async def get(
        self, path: str, headers: Mapping[str, str] = BEARER
    ) -> tuple[int, Any, Mapping[str, str]]:
        async with self.session.get(self.url + path, headers=headers) as response:
            return response.status, await response.json(content_type=None), response.headers

    async def raw(self, octets: bytes, *, whole: bool = False) -> bytes:
        """What the server says to these octets: the head of its answer, or `whole` till it hangs
        up, which may be at once."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(octets)
        said = b""
        while (whole or b"\r\n\r\n" not in said) and (more := await reader.read(2**16)):
            said += more
        writer.close()
        return said


@asynccontextmanager
async def running(
    settings: AllocatorSettings = SETTINGS,
    *,
    ready: bool = True,
    listen: socket.socket | tuple[str, int] = ("127.0.0.1", 0),
    within: float = DEADLINE_S,
) -> AsyncIterator[Running]:
    holder = Holder(state_of() if ready else None)
    stop, listening = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve(
            settings,
            holder,
            listen,
            stop=stop,
            on_listening=lambda _host, port: listening.set_result(port),
        )
    )
    async with asyncio.timeout(within), aiohttp.ClientSession() as session:
        port = await listening
        yield Running(port, holder, session, stop, task)
        stop.set()
        await task


def faulty_fields(document: Mapping[str, Any]) -> set[str]:
    return {each["field"] for each in document["errors"]}
