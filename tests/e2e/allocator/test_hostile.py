"""What broken, slow and hostile callers can do to the allocator: nothing that others notice."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import AsyncIterator

import pytest
import structlog

from firsthop_allocator.http import bodies
from firsthop_allocator.settings import MAX_BODY
from support.allocator_server import (
    BEARER,
    HEAD,
    running,
)
from support.allocator_world import BERLIN

pytestmark = pytest.mark.e2e


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


async def test_random_bodies_never_break_it() -> None:
    """A valid body with octets turned, cut, doubled and shuffled: 201, 400 or 422."""
    rng = random.Random(1)
    seed = json.dumps(
        {"client_ip": BERLIN, "ttl": 3600, "exclude_relays": ["fra-1"], "service": None}
    ).encode()
    tokens = [b'"', b"{", b"[", b"\\u0000", b"1e999", b"-", b"NaN", b"\xff", b"true", b'"ttl":']
    seen = set()
    async with running() as server:
        for _ in range(400):
            body = bytearray(seed)
            for _ in range(rng.randint(1, 4)):
                place = rng.randrange(len(body))
                end = place + rng.choice([0, 1, 1, 5])
                body[place:end] = rng.choice([*tokens, bytes([rng.randrange(256)])])
            status, _, _ = await server.post(bytes(body))
            assert status in (201, 400, 422), bytes(body)
            seen.add(status)
    assert seen == {201, 400, 422}
