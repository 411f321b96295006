"""What broken, slow and hostile callers can do to the allocator: nothing that others notice."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firsthop_allocator.http import bodies, openapi
from firsthop_allocator.settings import MAX_BODY
from support.allocator_server import (
    BEARER,
    HEAD,
    Running,
    running,
)
from support.allocator_world import BERLIN, RELAYS
from support.schemas import Schemas

pytestmark = pytest.mark.e2e

MAX_ANSWER_S = 30
"""Only distinguishes an answer that never comes from a slow machine."""
WORDS = [BERLIN, "relay", "fra-1", "fra", "0", "1", "x" * 300, "a\0b", RELAYS[0]["ipv6"]]
SCHEMAS = Schemas(openapi.document(), WORDS)
OPERATIONS = [
    (method, path, operation)
    for path, methods in openapi.document()["paths"].items()
    for method, operation in methods.items()
]
junk = st.binary(max_size=50) | st.lists(
    st.sampled_from([b"v=0\r\n", b"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n", b"a=ice-ufrag:abcd\r\n"])
).map(b"".join)


@pytest.mark.parametrize(
    "octets",
    [
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        HEAD + b"Content-Length: +2\r\n\r\n{}",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 2_0\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding : chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        HEAD + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"X-Forwarded-For\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Expect: nonsense\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Y: " + b"y" * 70_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET\r\n\r\n",
        b"GET /v1/regions?client_ip=%00%ff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://evil/../../v1/regions HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_broken_http_is_refused_and_survived(octets: bytes) -> None:
    """Lengths that two readers read in two ways, odd encodings, other protocols: 4xx or the door,
    never 201, never 500; and the next caller is served."""
    async with running() as server:
        said = await server.raw(octets)
        status = int(said.split(b" ", 2)[1]) if said.startswith(b"HTTP/1.") else 400
        assert 400 <= status < 500, said
        assert (await server.post({"client_ip": BERLIN}))[0] == 201


async def test_broken_http_is_counted_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A traceback for each would let strangers fill the disk."""
    async with running() as server:
        for _ in range(3):
            await server.raw(HEAD + b"Content-Length: x\r\n\r\n")
        async with server.session.get(f"{server.url}/metrics") as response:
            said = 'firsthop_allocator_requests_total{route="malformed",status="400"} 3.0'
            assert said in await response.text()
    assert not caplog.records


async def test_callers_who_leave_are_no_fault_of_ours() -> None:
    """Half a body and a reset: no traceback, and the next one is served."""
    with structlog.testing.capture_logs() as logged:
        async with running() as server:
            for length in (b"20", b"20000"):
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(
                    HEAD + b"Content-Length: " + length + b"\r\nExpect: 100-continue\r\n\r\n{"
                )
                await reader.readline()
                writer.transport.abort()
            assert (await server.post({"client_ip": BERLIN}))[0] == 201
    assert logged == []


async def test_a_bomb_is_not_unpacked() -> None:
    """One megabyte of zeros in a kilobyte of gzip is refused by its header."""
    async with running() as server:
        bomb = gzip.compress(bytes(2**20))
        assert len(bomb) < MAX_BODY
        assert (await server.post(bomb, {**BEARER, "Content-Encoding": "gzip"}))[0] == 415


async def test_a_long_body_without_a_length_is_cut_off() -> None:
    """Chunked uploads are bounded as well."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 64 * MAX_BODY:
            sent += MAX_BODY // 4
            yield b" " * (MAX_BODY // 4)

    async with running() as server:
        async with server.session.post(
            f"{server.url}/v1/allocations", data=endless(), headers=BEARER
        ) as response:
            assert response.status == 413
        assert (await server.post({}))[0] == 201


async def test_a_slow_body_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends an octet now and then gets 408 and holds nothing."""
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_S", 0.05)
    async with running() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HEAD + b"Content-Length: 20\r\n\r\n{")
        assert b" 408 " in await reader.readline()
        writer.close()


@pytest.mark.fuzz
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_any_call_is_answered_or_refused(server: Running, data: st.DataObject) -> None:
    """Every route, with values of its schema and others: never 500, never long, JSON if an error.
    Offers are such that no transceiver is asked."""
    method, path, operation = data.draw(st.sampled_from(OPERATIONS))
    words = st.sampled_from(WORDS)
    query = {
        each["name"]: data.draw(words | SCHEMAS.values(each["schema"]).map(str))
        for each in operation.get("parameters", ())
        if each["in"] == "query" and data.draw(st.booleans())
    }
    headers = {"Authorization": data.draw(st.sampled_from([*BEARER.values()] * 3 + ["", "Bearer"]))}
    content = operation.get("requestBody", {}).get("content", {})
    for media, described in content.items():
        is_json = media == "application/json"
        value = data.draw(SCHEMAS.values(described["schema"]) if is_json else junk)
        body = json.dumps(value).encode() if is_json else value
        headers |= {"Content-Type": media, "If-Match": "*"}
    async with server.session.request(
        method,
        server.url + path.replace("{token}", data.draw(words)),
        params=query,
        headers=headers,
        data=body if content else None,
        timeout=aiohttp.ClientTimeout(total=MAX_ANSWER_S),
    ) as response:
        raw = await response.read()
    assert response.status < 500 or response.status == 503, (method, path, raw)
    if response.status >= 400:
        assert json.loads(raw)["status"] == response.status, (method, path, raw)


@pytest_asyncio.fixture(name="server")
async def server_fixture() -> AsyncIterator[Running]:
    """An allocator for a whole round of fuzzing."""
    async with running(within=3600) as server:
        yield server
