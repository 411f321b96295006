"""Which TCP connections are accepted, refused and closed when there are many (RFC 7766 §6.2)."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from firsthop_dns.serve.accept import ACCEPT_FAILURES
from firsthop_dns.serve.tcp import (
    MAX_PER_CLIENT,
    REFUSED,
)
from support.waiting import DEADLINE_S, until
from wire.streams import ended, framed, messages, queries

pytestmark = pytest.mark.transports

Target = Any  # conftest.Target
MakeServer = Callable[..., Any]


def answered(stream: socket.socket) -> bool:
    """Whether the server answers a query on this connection."""
    with contextlib.suppress(OSError):
        stream.sendall(framed(queries(1)[0]))
        return len(messages(stream, 1)) == 1
    return False


def test_all_clients_have_so_many_connections(
    serve: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest idle makes room, whose ever it is."""
    monkeypatch.setattr("firsthop_dns.serve.tcp.MAX_CONNECTIONS", 8)
    target = serve(idle_s=3600.0)
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(target.connect()) for _ in range(8)]
        assert all(answered(each) for each in streams)
        streams.append(stack.enter_context(target.connect()))
        assert answered(streams[-1])
        assert ended(streams[0])
        assert len(target.server._connections) == 8


def test_connections_wait_while_no_other_is_idle(
    serve: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody's query is lost: those beyond the limit are accepted once others are answered."""
    monkeypatch.setattr("firsthop_dns.serve.tcp.MAX_CONNECTIONS", 8)
    target = serve(idle_s=3600.0)
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(target.connect()) for _ in range(20)]
        assert all(answered(each) for each in streams)


def test_connections_that_send_nothing_keep_nobody_out(
    serve: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while without a query they count as idle; half a query is none."""
    monkeypatch.setattr("firsthop_dns.serve.tcp.MAX_CONNECTIONS", 8)
    monkeypatch.setattr("firsthop_dns.serve.tcp.UNREAD_S", 0.2)
    target = serve(idle_s=3600.0)
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(target.connect()) for _ in range(8)]
        for stream in streams:
            stream.sendall(b"\0\7")
        assert answered(stack.enter_context(target.connect()))


def test_one_client_has_so_many_connections(serve: MakeServer) -> None:
    """RFC 9210 §4.2: the longest idle makes room, and the newest is answered."""
    target = serve(idle_s=3600.0)
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(target.connect()) for _ in range(MAX_PER_CLIENT)]
        assert all(answered(each) for each in streams)
        assert answered(streams[0])
        assert answered(stack.enter_context(target.connect()))
        assert ended(streams[1])
        assert answered(streams[0])


@pytest.mark.parametrize("count", [150, 400, 1000])
def test_every_connection_of_a_burst_is_answered(serve: MakeServer, count: int) -> None:
    """All of one client, each with its query sent at once, none cut for another."""
    target = serve(idle_s=3600.0)
    asked = framed(queries(1)[0])
    with contextlib.ExitStack() as stack:
        streams = []
        for _ in range(count):
            streams.append(stack.enter_context(target.connect()))
            streams[-1].sendall(asked)
        assert sum(bool(messages(each, 1)) for each in streams) == count


def test_a_client_s_connections_beyond_its_share_are_refused_unread(serve: MakeServer) -> None:
    """Where all connect before any of them asks: those within the share are answered."""
    target = serve(idle_s=3600.0)
    counters = target.server.tables.counters
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(target.connect()) for _ in range(MAX_PER_CLIENT + 50)]
        until(lambda: counters.total(REFUSED) == 50, "those beyond the share are refused")
        assert [answered(each) for each in streams] == [True] * MAX_PER_CLIENT + [False] * 50
        assert counters.total("firsthop_dns_requests_total") == MAX_PER_CLIENT


def test_a_storm_of_connections_from_one_address_harms_no_other(serve: MakeServer) -> None:
    """10,000 attempts: their client keeps its share, everybody else's connections live on."""
    target = serve(idle_s=3600.0)
    (asked,) = queries(1)
    attempts: deque[socket.socket] = deque()
    with target.connect() as other:
        other.sendall(framed(asked))
        assert messages(other, 1)
        for number in range(10_000):
            storming = socket.socket()
            storming.setblocking(False)
            storming.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            storming.bind(("127.0.0.5", 0))
            with contextlib.suppress(BlockingIOError):
                storming.connect((target.host, target.port))
            attempts.append(storming)
            if len(attempts) > 2 * MAX_PER_CLIENT:
                attempts.popleft().close()
            if number % 1000 == 0:
                assert target.ask("geo.example.test").answer
                assert len(target.server._connections) <= MAX_PER_CLIENT + 1
        other.sendall(framed(asked))
        assert messages(other, 1)
    for storming in attempts:
        storming.close()


@contextlib.contextmanager
def files_left(count: int) -> Iterator[None]:
    """This process may open so many more files."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = {int(each) for each in os.listdir("/proc/self/fd")}
    free = [number for number in range(max(used) + count + 2) if number not in used]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[count - 1] + 1, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_full_file_table_costs_the_longest_idle(serve: MakeServer) -> None:
    """accept(2) fails, but neither spins nor stays deaf: the newest client is answered."""
    target = serve(idle_s=3600.0)
    (asked,) = queries(1)
    counters = target.server.tables.counters
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(socket.socket()) for _ in range(8)]
        datagrams = stack.enter_context(target.datagrams())
        with files_left(4):
            for stream in streams:
                stream.settimeout(DEADLINE_S)
                stream.connect((target.host, target.port))
            until(lambda: counters.total(ACCEPT_FAILURES) >= 2, "accepting fails")
            streams[-1].sendall(framed(asked))
            assert messages(streams[-1], 1)
            datagrams.send(asked)
            assert datagrams.recv(4096)
            assert ended(streams[0])
        assert counters.total(ACCEPT_FAILURES) < 100
