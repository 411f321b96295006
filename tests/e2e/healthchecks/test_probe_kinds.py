"""Each kind of probe against real sockets: what passes, and what is said when it does not."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from firsthop_healthchecks.probes import Failed, Passed, ProbeOutcome, Unable
from firsthop_healthchecks.probes.http import HttpProbe
from firsthop_healthchecks.probes.stun import StunProbe
from firsthop_healthchecks.probes.tcp import TcpProbe
from firsthop_ice.stun import (
    StunMessageType,
    binding_error,
    binding_success,
    build,
    parse,
    peek_username,
    split_username,
)
from firsthop_ice.ufrag import RouteKeys, probe_password
from support.standin import keyset, own_address, stun_target

pytestmark = pytest.mark.e2e

KEYS = keyset()
Reply = Callable[[bytes, tuple[str, int]], bytes | None]


@asynccontextmanager
async def answering(address: str, reply: Reply, *, answer_from: int = 3478) -> AsyncIterator[None]:
    """Somebody on UDP 3478 who answers as told."""
    loop = asyncio.get_running_loop()
    asked, answers = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    asked.bind((address, 3478))
    asked.setblocking(False)
    sender = asked
    if answer_from != 3478:
        answers.bind((address, answer_from))
        sender = answers

    def answer() -> None:
        packet, source = asked.recvfrom(2048)
        content = reply(packet, source)
        if content is not None:
            sender.sendto(content, source)

    loop.add_reader(asked, answer)
    try:
        yield
    finally:
        loop.remove_reader(asked)
        asked.close()
        answers.close()


async def stun_outcome(
    reply: Reply, *, answer_from: int = 3478, timeout_s: float = 5.0
) -> ProbeOutcome:
    address, probe = own_address(), StunProbe()
    target = stun_target(address, KEYS, timeout_s=timeout_s)
    async with answering(address, reply, answer_from=answer_from):
        try:
            return await probe.check(target)
        finally:
            await probe.close()


def password_of(packet: bytes) -> str:
    """What only a relay with the route key can know."""
    ufrag, _ = split_username(peek_username(packet) or b"")
    return probe_password(ufrag, RouteKeys.from_keyset(KEYS).by_id[5])


async def test_stun_passes_on_an_authentic_success() -> None:
    outcome = await stun_outcome(
        lambda packet, source: binding_success(packet[8:20], source, password_of(packet))
    )
    assert isinstance(outcome, Passed)
    assert 0 < outcome.duration_ms < 5000


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (lambda packet, source: None, "no answer in 0.2 s"),
        (lambda packet, source: packet, "answer with a wrong|STUN error"),
        (
            lambda packet, source: binding_success(packet[8:20], source, "guess"),
            "wrong MESSAGE-INTEGRITY",
        ),
        (
            lambda packet, source: build(StunMessageType.SUCCESS, packet[8:20]),
            "wrong MESSAGE-INTEGRITY",
        ),
        (lambda packet, source: packet[:20], "answer is not STUN"),
        (
            lambda packet, source: binding_success(secrets.token_bytes(12), source, "x"),
            "no answer",
        ),
        (
            lambda packet, source: binding_error(
                packet[8:20], 420, "Unknown Attribute", password_of(packet)
            ),
            "STUN error 420 Unknown Attribute",
        ),
        (
            lambda packet, source: build(
                StunMessageType.SUCCESS, packet[8:20], password=password_of(packet)
            ),
            "not a Binding success",
        ),
    ],
)
async def test_stun_fails_on_all_else(reply: Reply, reason: str) -> None:
    """Only a holder of the route key can make a relay look alive."""
    outcome = await stun_outcome(reply, timeout_s=0.2)
    assert isinstance(outcome, Failed)
    assert any(words in outcome.reason for words in reason.split("|"))


async def test_stun_answers_from_elsewhere_do_not_count() -> None:
    outcome = await stun_outcome(
        lambda packet, source: binding_success(packet[8:20], source, password_of(packet)),
        answer_from=3479,
        timeout_s=0.2,
    )
    assert outcome == Failed("no answer in 0.2 s")


async def test_a_forged_answer_does_not_spoil_the_real_one() -> None:
    """The attacker is faster, the relay still counts."""
    address, probe = own_address(), StunProbe()
    target = stun_target(address, KEYS, timeout_s=5)
    forger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def reply(packet: bytes, source: tuple[str, int]) -> bytes:
        forger.sendto(binding_error(packet[8:20], 400, "forged", None), source)
        return binding_success(packet[8:20], source, password_of(packet))

    async with answering(address, reply):
        assert isinstance(await probe.check(target), Passed)
    forger.close()
    await probe.close()


async def test_stun_needs_a_credential_and_a_way_out() -> None:
    probe = StunProbe()
    bare = stun_target("127.0.0.1", KEYS, ufrag=None)
    assert await probe.check(bare) == Unable("no probe credential")
    nowhere = stun_target("255.255.255.255", KEYS)
    assert await probe.check(nowhere) == Unable("Permission denied")
    assert not probe._waiting
    await probe.close()


async def test_an_expired_credential_votes_nobody_down() -> None:
    """A day without the control plane makes the prober mute, not the relays dead."""
    late = StunProbe(wall=lambda: datetime.now(UTC) + timedelta(hours=24))
    outcome = await late.check(stun_target(own_address(), KEYS))
    assert outcome == Unable("the probe credential has expired")
    await late.close()


async def test_many_checks_share_one_socket() -> None:
    """And each gets its own answer, also when all come at once."""
    address, probe = own_address(), StunProbe()
    target = stun_target(address, KEYS, timeout_s=5)

    def reply(packet: bytes, source: tuple[str, int]) -> bytes:
        assert parse(packet).authentic(password_of(packet))
        return binding_success(packet[8:20], source, password_of(packet))

    async with answering(address, reply):
        outcomes = await asyncio.gather(*(probe.check(target) for _ in range(200)))
    assert all(isinstance(outcome, Passed) for outcome in outcomes)
    assert len(probe._sockets) == 1
    assert not probe._waiting
    await probe.close()


async def test_tcp_passes_when_the_port_accepts() -> None:
    address, probe = own_address(), TcpProbe()
    server = await asyncio.start_server(lambda _, writer: writer.close(), address, 3478)
    target = stun_target(address, KEYS, kind="tcp", timeout_s=5)
    async with server:
        assert isinstance(await probe.check(target), Passed)
    assert await probe.check(target) == Failed("Connection refused")
    await probe.close()


async def test_tcp_fails_when_nobody_takes_the_connection() -> None:
    """A full backlog answers nothing at all."""
    address, probe = own_address(), TcpProbe()
    with socket.socket() as full:
        full.bind((address, 3478))
        full.listen(0)
        clients = [socket.socket() for _ in range(4)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex((address, 3478))
        target = stun_target(address, KEYS, kind="tcp", timeout_s=0.2)
        assert await probe.check(target) == Failed("no answer in 0.2 s")
        for client in clients:
            client.close()


async def test_http_judges_the_status() -> None:
    address, probe, enough = own_address(), HttpProbe(), asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        await enough.wait()
        return web.Response()

    async def moved(_: web.Request) -> web.Response:
        raise web.HTTPFound("/ok")

    async def ok(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.add_routes([web.get("/ok", ok), web.get("/slow", slow), web.get("/moved", moved)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, address, 3478).start()

    async def check(
        path: str, expect_status: int | tuple[int, ...] = 200, timeout_s: float = 5
    ) -> ProbeOutcome:
        return await probe.check(
            stun_target(
                *(address, KEYS),
                kind="http",
                path=path,
                expect_status=expect_status,
                timeout_s=timeout_s,
            )
        )

    assert isinstance(await check("/ok"), Passed)
    assert isinstance(await check("/ok?a=%20b&c=d"), Passed)
    assert await check("/nowhere") == Failed("status 404, expected 200")
    assert isinstance(await check("/nowhere", 404), Passed)
    assert isinstance(await check("/moved", 302), Passed)
    assert isinstance(await check("/moved", (200, 302)), Passed)
    assert await check("/moved", (200, 204)) == Failed("status 302, expected 200 or 204")
    assert await check("/slow", timeout_s=0.2) == Failed("no answer in 0.2 s")
    enough.set()
    await runner.cleanup()
    assert await check("/ok") == Failed("Connection refused")
    await probe.close()


async def test_http_fails_on_what_is_not_http() -> None:
    address, probe = own_address(), HttpProbe()

    async def other(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()

    async with await asyncio.start_server(other, address, 3478):
        outcome = await probe.check(stun_target(address, KEYS, kind="http", timeout_s=5))
    assert isinstance(outcome, Failed)
    assert outcome.reason
    await probe.close()
