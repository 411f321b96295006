"""RFC 7766 and 9210: what a connection may cost; RFC 2181 §4.1 for the address of replies."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any

import dns.message
import pytest

from firsthop_dns.answer.instance import TCP_IDLE_S
from firsthop_dns.serve.listening import bind, bind_pair, join_pair
from firsthop_dns.serve.server import DnsServer
from firsthop_dns.serve.tcp import (
    BATCH,
    READ_WINDOW,
    WRITE_WINDOW,
)
from support.waiting import DEADLINE_S, until
from wire.streams import ended, framed, messages, queries

pytestmark = pytest.mark.transports

Target = Any  # conftest.Target
MakeServer = Callable[..., Any]


def test_pipelined(target: Target) -> None:
    """§6.2.1.1: 1,000 queries in one write, each answered."""
    asked = queries(1000)
    with target.connect() as stream:
        stream.sendall(b"".join(map(framed, asked)))
        replies = messages(stream, len(asked))
    assert sorted(int.from_bytes(each[:2], "big") for each in replies) == list(range(1000))


def test_octet_by_octet(target: Target) -> None:
    """§8: frames know nothing of segments."""
    (asked,) = queries(1)
    with target.connect() as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in framed(asked) * 2:
            stream.sendall(bytes([octet]))
        assert len(messages(stream, 2)) == 2


def test_half_closed(target: Target) -> None:
    """§6.2.4: a client that has no more to ask still gets its answers, then the end."""
    asked = queries(300)
    with target.connect() as stream:
        stream.sendall(b"".join(map(framed, asked)))
        stream.shutdown(socket.SHUT_WR)
        assert len(messages(stream, 300)) == 300
        assert stream.recv(1) == b""


def test_errors_keep_the_connection(target: Target) -> None:
    """A bad query costs its own answer only."""
    (asked,) = queries(1)
    with target.connect() as stream:
        stream.sendall(framed(bytes(12)) + framed(asked))
        bad, good = messages(stream, 2)
    assert bad[3] & 0xF == 1
    assert good[3] & 0xF == 0


def test_what_is_no_query_ends_the_connection(target: Target) -> None:
    """After the answers before it; an empty message too."""
    (asked,) = queries(1)
    for bad in (b"", b"\0" * 5, b"\0\0\x80" + bytes(9)):
        with target.connect() as stream:
            stream.settimeout(TCP_IDLE_S / 2)  # at once, and not when idle
            stream.sendall(framed(asked) + framed(bad) + framed(asked))
            assert len(messages(stream, 2)) == 1


def test_idle_connections_end(serve: MakeServer) -> None:
    """§6.2.3; half a query is no activity (slowloris)."""
    target = serve(idle_s=0.2)
    (asked,) = queries(1)
    with target.connect() as silent, target.connect() as slow:
        slow.sendall(framed(asked) + framed(asked)[:9])
        assert ended(slow)
        assert ended(silent)


def test_a_dribbling_client_ends_at_the_same_deadline(serve: MakeServer) -> None:
    """An octet now and then is no query either: it does not move the deadline."""
    target = serve(idle_s=0.3)
    octets = framed(queries(1)[0])
    sent = 0
    with target.connect() as slow, contextlib.suppress(ConnectionError):
        slow.settimeout(0.05)
        for octet in octets:
            slow.sendall(bytes([octet]))
            sent += 1
            with contextlib.suppress(TimeoutError):
                assert slow.recv(1) == b""
                break
    assert sent < len(octets)
    until(lambda: len(target.server._connections) == 0, "all connections are closed")


def flood(stream: socket.socket) -> None:
    """Sends queries with long answers, reads none, until nothing more is taken."""
    octets = b"".join(map(framed, queries(2000, "big.example.test")))
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stream.settimeout(1.0)
    with contextlib.suppress(TimeoutError, ConnectionError):
        for _ in range(400):
            stream.sendall(octets)


def test_a_slow_reader_costs_a_bounded_window(serve: MakeServer) -> None:
    """Beyond it nothing more is read; others are answered all the while."""
    target = serve(idle_s=3600.0)
    with target.connect() as greedy:
        flood(greedy)
        (connection,) = target.server._connections._open
        one_batch = BATCH * 1024
        assert connection._transport.get_write_buffer_size() < WRITE_WINDOW + one_batch
        assert len(connection._buffer) <= READ_WINDOW + 256 * 1024
        assert target.ask("geo.example.test", tcp=True).answer
        assert target.ask("geo.example.test").answer
        greedy.settimeout(DEADLINE_S)
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        assert len(messages(greedy, 5000)) >= 5000


def test_slow_readers_end(serve: MakeServer) -> None:
    """When they have read nothing for as long as a connection may be idle."""
    target = serve(idle_s=0.3)
    with target.connect() as greedy:
        flood(greedy)
        until(lambda: len(target.server._connections) == 0, "all connections are closed")


async def test_a_server_that_stops_answers_what_has_come(serve: MakeServer) -> None:
    """Datagrams in its queue, connections nobody has accepted yet, and who is about to ask."""
    tables = serve().server.tables
    server = DnsServer(bind([("127.0.0.1", 0)]), tables)
    address = server.addresses[0]
    await server.start()
    asked = queries(200)
    with contextlib.ExitStack() as stack:
        udp = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        udp.connect(address)
        eager, late, silent = (
            stack.enter_context(socket.create_connection(address)) for _ in range(3)
        )
        for packet in asked:  # the loop has not run since the start
            udp.send(packet)
        eager.sendall(b"".join(map(framed, asked)))
        stopping = asyncio.create_task(server.stop())
        for _ in range(1000):  # turns of the loop
            if len(server._connections) == 3:
                break
            await asyncio.sleep(0)
        late.sendall(framed(asked[0]))
        await stopping
        ids = {int.from_bytes(udp.recv(4096)[:2], "big") for _ in asked}
        assert ids == set(range(200))
        assert len(messages(eager, 200)) == 200
        assert len(messages(late, 1)) == 1
        assert ended(silent)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)


def test_a_pair_of_sockets_is_joined_only_knowingly() -> None:
    """Another server's address cannot be had by accident; our own workers share it."""
    first = bind_pair("127.0.0.1", 0)
    with pytest.raises(OSError, match=f"127.0.0.1:{first.address[1]} is in use") as caught:
        bind([("127.0.0.1", 0), first.address])
    assert "UDP" in str(caught.value)
    second = join_pair(first)
    assert second.address == first.address
    first.close()
    with pytest.raises(OSError, match="is in use"):
        bind([second.address])
    second.close()


@pytest.mark.parametrize(
    ("host", "asked"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "::1"), ("::", "::1")],
)
def test_we_do_not_answer_ourselves(serve: MakeServer, host: str, asked: str) -> None:
    """A datagram that claims to come from where we listen is dropped and counted."""
    target = serve(host)
    target.host = asked
    counters = target.server.tables.counters
    target.server._udp[0]._sock.sendto(queries(1)[0], (asked, target.port))
    until(lambda: counters.total("firsthop_dns_dropped_total") == 1, "it is counted")
    assert target.ask("geo.example.test").answer
    assert counters.total("firsthop_dns_responses_total") == 1
    assert counters.total("firsthop_dns_requests_total") == 2
    ((labels, _),) = counters.snapshot()["firsthop_dns_dropped_total"]
    assert labels == {"reason": "own_address"}


def test_resets_cost_nothing(serve: MakeServer) -> None:
    """Connections that vanish leave nothing behind."""
    target = serve()
    for _ in range(50):
        stream = target.connect()
        stream.sendall(b"".join(map(framed, queries(20))))
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        stream.close()
    assert target.ask("geo.example.test", tcp=True).answer
    until(lambda: len(target.server._connections) == 0, "all connections are closed")


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.8.7"])
def test_replies_leave_from_the_address_asked(serve: MakeServer, address: str) -> None:
    """Also of a server bound to 0.0.0.0: a connected socket hears no other."""
    target = serve("0.0.0.0")
    target.host = address
    for _ in range(3):
        assert target.ask("geo.example.test", subnet="198.51.100.0/24").answer
    assert target.ask("geo.example.test", tcp=True).answer


def test_replies_of_a_wildcard_over_ipv6(serve: MakeServer) -> None:
    """The same for ::."""
    target = serve("::")
    target.host = "::1"
    assert target.ask("geo.example.test").answer


def test_a_burst_of_datagrams(serve: MakeServer) -> None:
    """More than one wake-up takes; a receive buffer of 4 MiB keeps them all."""
    target = serve()
    with target.datagrams() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        for packet in queries(200):
            sock.send(packet)
        ids = {int.from_bytes(sock.recv(4096)[:2], "big") for _ in range(200)}
    assert ids == set(range(200))


def test_counters_add_up(serve: MakeServer) -> None:
    """requests = responses + drops, over sockets too."""
    target = serve()
    target.ask("geo.example.test")
    target.ask("geo.example.test", tcp=True)
    with target.datagrams() as sock:
        sock.send(b"x")
        sock.send(queries(1)[0])
        sock.recv(4096)
    counters = target.server.tables.counters
    until(lambda: counters.total("firsthop_dns_requests_total") == 4, "all are counted")
    assert counters.total("firsthop_dns_responses_total") == 3
    assert counters.total("firsthop_dns_dropped_total") == 1


def test_a_new_table_is_used_from_the_next_message_on(serve: MakeServer, newer: object) -> None:
    """One assignment; connections stay."""
    target = serve()
    (asked,) = queries(1, "example.test")
    asked = asked.replace(b"\0\1\0\1", b"\0\6\0\1", 1)
    serials = []
    with target.connect() as stream:
        for _ in range(2):
            stream.sendall(framed(asked))
            (reply,) = messages(stream, 1)
            serials.append(dns.message.from_wire(reply).answer[0][0].serial)
            target.server.swap(newer)
    assert serials == [7, 8]


def test_a_fault_of_ours_costs_one_answer(
    serve: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SERVFAIL over both transports, and the loop goes on."""
    target = serve()

    def broken(*_: object) -> bytes:
        raise RuntimeError("a fault of ours")

    with monkeypatch.context() as patched:
        patched.setattr("firsthop_dns.serve.udp.respond", broken)
        patched.setattr("firsthop_dns.serve.tcp.respond", broken)
        assert target.ask("geo.example.test").rcode() == dns.rcode.SERVFAIL
        assert target.exchange(queries(1)[0], tcp=True).rcode() == dns.rcode.SERVFAIL
    assert target.ask("geo.example.test").answer
