"""The kinds of one datagram, dns and icmp and the skeleton, and where checks set out from."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from firsthop_healthchecks.probes import Failed, Passed, ProbeCheck, ProbeOutcome, Unable
from firsthop_healthchecks.probes.dns import DnsProbe
from firsthop_healthchecks.probes.http import HttpProbe
from firsthop_healthchecks.probes.icmp import PING_SOCKETS, IcmpProbe
from firsthop_healthchecks.probes.skeleton import SkeletonProbe
from firsthop_healthchecks.probes.source import SourceAddresses
from firsthop_healthchecks.probes.stun import StunProbe
from firsthop_healthchecks.probes.tcp import TcpProbe
from firsthop_healthchecks.probes.tls import TlsProbe
from support.standin import keyset, own_address, stun_target

pytestmark = pytest.mark.e2e
KEYS = keyset()
Reply = Callable[[bytes], list[bytes]]


@asynccontextmanager
async def answering(address: str, reply: Reply) -> AsyncIterator[list[str]]:
    """Somebody on UDP 3478 who sends what `reply` gives; yields who asked."""
    loop, askers = asyncio.get_running_loop(), list[str]()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 3478))
    sock.setblocking(False)

    def answer() -> None:
        packet, source = sock.recvfrom(2048)
        askers.append(source[0])
        for each in reply(packet):
            sock.sendto(each, source)

    loop.add_reader(sock, answer)
    try:
        yield askers
    finally:
        loop.remove_reader(sock)
        sock.close()


async def outcome_of(probe: ProbeCheck, reply: Reply, **fields: Any) -> ProbeOutcome:
    address = own_address()
    async with answering(address, reply):
        try:
            return await probe.check(stun_target(address, KEYS, **{"timeout_s": 5.0} | fields))
        finally:
            await probe.close()


def dns_answer(packet: bytes, change: Callable[[dns.message.Message], object]) -> bytes:
    """The right answer to a query, changed."""
    query = dns.message.from_wire(packet)
    answer = dns.message.make_response(query)
    name = query.question[0].name
    answer.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.1"))
    change(answer)
    return answer.to_wire()


def _right(_: dns.message.Message) -> None:
    return


async def dns_outcome(reply: Reply, timeout_s: float = 5.0) -> ProbeOutcome:
    fields = {"kind": "dns", "dns_name": "Relay.example.", "timeout_s": timeout_s}
    return await outcome_of(DnsProbe(), reply, **fields)


async def test_dns_passes_on_a_record() -> None:
    """And asks with EDNS, for A, under another id each time."""
    asked: list[dns.message.Message] = []

    def reply(packet: bytes) -> list[bytes]:
        asked.append(dns.message.from_wire(packet))
        return [dns_answer(packet, _right)]

    for _ in range(8):
        outcome = await dns_outcome(reply)
        assert isinstance(outcome, Passed)
        assert 0 < outcome.duration_ms < 5000
    assert {each.question[0].to_text() for each in asked} == {"Relay.example. IN A"}
    assert {(each.edns, each.payload) for each in asked} == {(0, 1232)}
    assert len({each.id for each in asked}) > 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda answer: answer.set_rcode(dns.rcode.SERVFAIL), "answer is SERVFAIL"),
        (lambda answer: answer.set_rcode(dns.rcode.REFUSED), "answer is REFUSED"),
        (lambda answer: answer.answer.clear(), "answer without a record"),
    ],
)
async def test_dns_fails_at_once_on_a_wrong_answer(change: Any, reason: str) -> None:
    assert await dns_outcome(lambda packet: [dns_answer(packet, change)]) == Failed(reason)


async def test_dns_says_that_an_answer_was_cut() -> None:
    def cut(answer: dns.message.Message) -> None:
        answer.answer.clear()
        answer.flags |= dns.flags.TC

    assert await dns_outcome(lambda packet: [dns_answer(packet, cut)]) == Failed("truncated")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (lambda _: [], "no answer in 0.2 s"),
        (lambda _: [b"", b"\0" * 11, secrets.token_bytes(600)], "answer is not DNS"),
        (lambda packet: [packet], "answer to another question"),
        (
            lambda packet: [dns_answer(bytes(2) + packet[2:], _right)],
            "answer to another question",
        ),
        (
            lambda packet: [dns_answer(packet.replace(b"\5Relay", b"\5other"), _right)],
            "answer to another question",
        ),
    ],
)
async def test_dns_waits_on_while_the_answer_is_not_there(reply: Reply, reason: str) -> None:
    assert await dns_outcome(reply, timeout_s=0.2) == Failed(reason)


async def test_dns_takes_the_right_answer_among_wrong_ones() -> None:
    outcome = await dns_outcome(
        lambda packet: [
            b"junk",
            dns_answer(b"\0\0" + packet[2:], _right),
            dns_answer(packet, _right),
        ]
    )
    assert isinstance(outcome, Passed)


async def test_a_port_where_nobody_is_fails_at_once() -> None:
    probe = DnsProbe()
    target = stun_target(own_address(), KEYS, kind="dns", dns_name="a.example.", timeout_s=5.0)
    assert await probe.check(target) == Failed("Connection refused")
    assert await probe.check(target.model_copy(update={"dns_name": None})) == Unable(
        "no name to query"
    )
    await probe.close()


async def test_the_skeleton_checks_as_it_stands() -> None:
    assert isinstance(await outcome_of(SkeletonProbe(), lambda packet: [packet]), Passed)
    outcome = await outcome_of(SkeletonProbe(), lambda packet: [packet[1:]], timeout_s=0.2)
    assert outcome == Failed("echo of something else")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_icmp_passes_where_it_is_allowed(address: str) -> None:
    """And says why nothing is learned where it is not."""
    probe = IcmpProbe()
    target = stun_target("127.0.0.1", KEYS, kind="icmp", timeout_s=5.0)
    outcome = await probe.check(target.model_copy(update={"address": ip_address(address)}))
    await probe.close()
    if isinstance(outcome, Unable):
        assert outcome.reason == PING_SOCKETS or address == "::1"
        pytest.skip(outcome.reason)
    assert isinstance(outcome, Passed)


async def test_checks_set_out_from_the_source_address() -> None:
    """UDP and TCP, shared sockets and single ones."""
    source, address = own_address(), own_address()
    chosen = SourceAddresses.parse(source)
    fields = {"timeout_s": 0.2, "dns_name": "a.example."}
    target = stun_target(address, KEYS, **fields)
    async with answering(address, lambda _: []) as askers:
        for kind, probe in (("stun", StunProbe(chosen)), ("dns", DnsProbe(chosen))):
            await probe.check(target.model_copy(update={"kind": kind}))
            await probe.close()
    assert askers == [source, source]
    peers, all_came = list[str](), asyncio.Event()

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.append(writer.get_extra_info("peername")[0])
        writer.close()
        if len(peers) >= 3:
            all_came.set()

    stream: list[tuple[str, ProbeCheck]] = [
        *(("tcp", TcpProbe(chosen)), ("tls", TlsProbe(chosen)), ("http", HttpProbe(chosen))),
    ]
    async with await asyncio.start_server(hang_up, address, 3478):
        for kind, probe in stream:
            await probe.check(target.model_copy(update={"kind": kind, "timeout_s": 5.0}))
            await probe.close()
        async with asyncio.timeout(120):
            await all_came.wait()
    assert set(peers) == {source}


async def test_a_source_that_is_not_ours_votes_nobody_down() -> None:
    source = SourceAddresses.parse("192.0.2.77")
    probes: list[tuple[str, ProbeCheck]] = [
        *(("stun", StunProbe(source)), ("tcp", TcpProbe(source)), ("tls", TlsProbe(source))),
        *(("http", HttpProbe(source)), ("dns", DnsProbe(source))),
    ]
    for kind, probe in probes:
        target = stun_target(own_address(), KEYS, kind=kind, dns_name="a.example.")
        outcome = await probe.check(target)
        assert outcome == Unable("Cannot assign requested address"), kind
        await probe.close()
