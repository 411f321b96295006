"""Connections of one address are limited, and slow heads are given up."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from asyncio import constants
from collections.abc import AsyncIterator

import aiohttp
import pytest
import structlog
from aiohttp import web

from firsthop_net import http_server
from firsthop_net.http_server import HttpRunner
from support.waiting import eventually


@contextlib.asynccontextmanager
async def serving(**options: object) -> AsyncIterator[tuple[HttpRunner, str, int]]:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = HttpRunner(app, **options)  # type: ignore[arg-type]
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        yield runner, host, port
    finally:
        await runner.cleanup()


async def half_heads(host: str, port: int, count: int) -> list[asyncio.StreamWriter]:
    writers = []
    for _ in range(count):
        _, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\nHo")
        writers.append(writer)
    return writers


def connections(runner: HttpRunner) -> int:
    assert runner.server is not None
    return len(runner.server.connections)


async def answered(host: str, port: int) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}") as got:
            return got.status == 200
    except aiohttp.ClientError:
        return False


async def test_one_address_holds_so_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beyond are closed; when some end, others may come."""
    monkeypatch.setattr(http_server, "LOOPBACK", ())
    async with serving(max_per_address=5) as (runner, host, port):
        writers = await half_heads(host, port, 20)
        await eventually(lambda: connections(runner) == 5, "the others are closed")
        assert not await answered(host, port)
        for writer in writers:
            writer.close()
        await eventually(lambda: connections(runner) == 0, "all are closed")
        assert await answered(host, port)


async def test_a_process_without_descriptors_says_so_once_and_recovers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While connections wait for a descriptor nothing else is logged; then they are served."""
    monkeypatch.setattr(constants, "ACCEPT_RETRY_DELAY", 0.01)
    async with serving() as (_, host, port):
        clients = [socket.socket() for _ in range(3)]
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        tries = 0

        def counted(*_: object) -> tuple[socket.socket, object]:
            nonlocal tries
            tries += 1
            return accept(*_)

        accept = socket.socket.accept
        monkeypatch.setattr(socket.socket, "accept", counted)
        with structlog.testing.capture_logs() as logged:
            resource.setrlimit(resource.RLIMIT_NOFILE, (clients[0].fileno(), limits[1]))
            try:
                for client in clients:
                    client.connect((host, port))
                    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                await eventually(lambda: tries > 1000, "it goes on trying")
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            for client in clients:
                reader, writer = await asyncio.open_connection(sock=client)
                assert b"200 OK" in await reader.readline()
                writer.close()
        assert [each["event"] for each in logged] == ["descriptors.exhausted"]
        assert not caplog.records


@pytest.mark.parametrize("end", [b"\r", b"\x0b", b"\x00"])
async def test_what_is_no_request_is_not_logged(
    caplog: pytest.LogCaptureFixture, end: bytes
) -> None:
    """A token from a file with Windows line ends would stand in the log."""
    async with serving() as (_, host, port):
        reader, writer = await asyncio.open_connection(host, port)
        head = b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer s3cret"
        writer.write(head + end + b"\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
    assert not caplog.records


async def test_proxies_and_local_peers_are_not_limited() -> None:
    """Each of them stands for many clients."""
    async with serving(max_per_address=2) as (runner, host, port):
        writers = await half_heads(host, port, 10)
        await eventually(lambda: connections(runner) == 10, "all are held")
        assert await answered(host, port)
        for writer in writers:
            writer.close()


async def test_a_half_sent_head_is_given_up() -> None:
    """The connection ends by itself."""
    async with serving(keepalive_timeout=0.05) as (_, host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\nHo")
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()
