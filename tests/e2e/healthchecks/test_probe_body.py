"""The body rule of http, and servers that talk nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from firsthop_healthchecks.probes import Failed, Passed, ProbeOutcome
from firsthop_healthchecks.probes.http import HttpProbe
from support.standin import keyset, own_address, stun_target

pytestmark = pytest.mark.e2e
KEYS = keyset()
HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
Speak = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def speaking(address: str, speak: Speak) -> AsyncIterator[list[bytes]]:
    """Somebody on TCP 3478 who reads a request and says what he likes; gives the requests."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            await speak(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, address, 3478):
        yield requests


async def outcome_of(speak: Speak, *, timeout_s: float = 5.0, **fields: Any) -> ProbeOutcome:
    address, probe = own_address(), HttpProbe()
    target = stun_target(address, KEYS, kind="http", timeout_s=timeout_s, **fields)
    try:
        async with speaking(address, speak):
            return await probe.check(target)
    finally:
        await probe.close()


def saying(*parts: bytes) -> Speak:
    async def speak(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return speak


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ((b"\r\n", b"all is ", b"gr\xc3\xb6\xc3\x9fer"), True),
        ((b"Content-Length: 4\r\n\r\n", b"nope"), False),
        ((b"Content-Length: 0\r\n\r\n",), False),
        ((b"\r\n", b"x" * (65536 - 8), b"gr\xc3\xb6\xc3\x9fer"), True),
        ((b"\r\n", b"x" * (65536 - 7), b"gr\xc3\xb6\xc3\x9fer"), False),
        ((CHUNKED, b"5\r\ngr\xc3\xb6\xc3\r\n3\r\n\x9fer\r\n0\r\n\r\n"), True),
    ],
)
async def test_the_text_must_stand_in_the_first_64_kib(
    parts: tuple[bytes, ...], found: bool
) -> None:
    """Wherever packets and chunks are cut."""
    outcome = await outcome_of(saying(HEAD, *parts), expect_body="größer")
    if found:
        assert isinstance(outcome, Passed)
    else:
        assert outcome == Failed("body without the expected text")


async def test_without_a_rule_the_body_is_not_waited_for() -> None:
    async def speak(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Content-Length: 100\r\n\r\n")
        await writer.drain()
        await asyncio.Event().wait()

    assert isinstance(await outcome_of(speak, timeout_s=60.0), Passed)


async def test_the_host_header_is_as_told_and_nothing_is_compressed() -> None:
    address, probe = own_address(), HttpProbe()
    async with speaking(address, saying(HEAD + b"\r\n")) as requests:
        await probe.check(stun_target(address, KEYS, kind="http", host="a.example"))
    await probe.close()
    assert b"\r\nHost: a.example\r\n" in requests[0]
    assert requests[0].count(b"Host:") == 1
    assert b"\r\nAccept-Encoding: identity\r\n" in requests[0]


async def _endless(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def _drip(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def _drip_of_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("speak", "reason"),
    [
        (_endless, "body without the expected text"),
        (_drip, "no answer in 0.4 s"),
        (_drip_of_headers, "no answer in 0.4 s"),
        (saying(HEAD + b"Content-Length: 900\r\n\r\nshort"), ""),
        (saying(HEAD + b"X: " + b"x" * 100_000 + b"\r\n\r\nok"), ""),
        (saying(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), ""),
        (saying(HEAD + b"Content-Length: -1\r\n\r\nok"), ""),
        (saying(b"\xff\xfe\x00 garbage\r\n\r\n"), ""),
        (saying(b""), ""),
    ],
    ids=["huge", "drip", "header drip", "cut", "long", "chunk", "length", "junk", "nothing"],
)
async def test_nonsense_fails_within_its_time(speak: Speak, reason: str) -> None:
    """Garbage, a slow drip, a body without end, an early close: none hangs and none raises."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    outcome = await outcome_of(speak, timeout_s=0.4, expect_body="ok, but never said")
    assert loop.time() - started < 30.0
    assert isinstance(outcome, Failed)
    assert reason in outcome.reason
    assert outcome.reason.isprintable()
