"""RFC 7766, 9210, and what a connection may cost; RFC 2181 §4.1 for the address of replies."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any

import dns.message
import pytest

from firsthop_dns.tcp import BATCH, IDLE_S, MOST_PER_CLIENT, READ_WINDOW, WRITE_WINDOW

Target = Any  # conftest.Target
MakeServer = Callable[..., Any]
DEADLINE_S = 20.0


def framed(packet: bytes) -> bytes:
    """With its length before it."""
    return len(packet).to_bytes(2, "big") + packet


def queries(count: int, name: str = "geo.example.test") -> list[bytes]:
    """Numbered queries."""
    made = []
    for number in range(count):
        asked = dns.message.make_query(name, "A", use_edns=0)
        asked.id = number
        made.append(asked.to_wire())
    return made


def messages(stream: socket.socket, count: int) -> list[bytes]:
    """That many framed messages, or fewer if the other side closes."""
    data, found = b"", []
    while len(found) < count:
        while len(data) >= 2 and len(data) >= (end := 2 + int.from_bytes(data[:2], "big")):
            found.append(data[2:end])
            data = data[end:]
        if len(found) < count:
            more = stream.recv(65536)
            if not more:
                break
            data += more
    return found


def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition of another thread."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def ended(stream: socket.socket) -> bool:
    """Reads to the end: closed or reset."""
    with contextlib.suppress(ConnectionResetError):
        while stream.recv(65536):
            pass
    return True


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
            stream.settimeout(IDLE_S / 2)  # at once, and not when idle
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


def flood(stream: socket.socket) -> None:
    """Sends queries with long answers, reads none, until nothing more is taken."""
    octets = b"".join(map(framed, queries(2000, "big.example.test")))
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stream.settimeout(0.5)
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
        assert len(messages(greedy, 5000)) >= 5000


def test_slow_readers_end(serve: MakeServer) -> None:
    """When they have read nothing for as long as a connection may be idle."""
    target = serve(idle_s=0.3)
    with target.connect() as greedy:
        flood(greedy)
        until(lambda: len(target.server._connections) == 0)


def test_all_clients_have_so_many_connections(
    serve: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest idle makes room, whose ever it is."""
    monkeypatch.setattr("firsthop_dns.tcp.MOST_CONNECTIONS", 8)
    target = serve(idle_s=3600.0)
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(target.connect()) for _ in range(9)]
        streams[-1].sendall(framed(queries(1)[0]))
        assert messages(streams[-1], 1)
        assert ended(streams[0])
        assert len(target.server._connections) == 8


def test_one_client_has_so_many_connections(serve: MakeServer) -> None:
    """RFC 9210 §4.2: the longest idle makes room, and the newest is answered."""
    target = serve(idle_s=3600.0)
    (asked,) = queries(1)
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(target.connect()) for _ in range(MOST_PER_CLIENT)]
        until(lambda: len(target.server._connections) == MOST_PER_CLIENT)
        streams[0].sendall(framed(asked))
        assert messages(streams[0], 1)
        newest = stack.enter_context(target.connect())
        newest.sendall(framed(asked))
        assert messages(newest, 1)
        assert ended(streams[1])
        streams[0].sendall(framed(asked))
        assert messages(streams[0], 1)


def test_resets_cost_nothing(serve: MakeServer) -> None:
    """Connections that vanish leave nothing behind."""
    target = serve()
    for _ in range(50):
        stream = target.connect()
        stream.sendall(b"".join(map(framed, queries(20))))
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        stream.close()
    assert target.ask("geo.example.test", tcp=True).answer
    until(lambda: len(target.server._connections) == 0)


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
    until(lambda: counters.total("firsthop_dns_requests_total") == 4)
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
        patched.setattr("firsthop_dns.udp.respond", broken)
        patched.setattr("firsthop_dns.tcp.respond", broken)
        assert target.ask("geo.example.test").rcode() == dns.rcode.SERVFAIL
        assert target.exchange(queries(1)[0], tcp=True).rcode() == dns.rcode.SERVFAIL
    assert target.ask("geo.example.test").answer
