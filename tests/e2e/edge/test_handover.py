"""No query is lost when an edge reloads, when a worker dies, and when another edge takes over."""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import dns.message
import psutil
import pytest

from firsthop_dns.wire.edns import NOERROR
from support.deployment import free_port
from support.edges import DNS_WORKERS, NAME, Edges
from support.waiting import DEADLINE_S, until

pytestmark = pytest.mark.e2e

RATE = 1000
"""Queries a second."""
SOCKETS = 16
"""So that the kernel's hash gives some to every worker."""


@pytest.fixture
def edges(tmp_path: Path) -> Iterator[Edges]:
    made = Edges(tmp_path)
    try:
        yield made
    finally:
        for process in made.started:
            process.kill()
            process.wait()


@pytest.fixture
def edge(edges: Edges) -> subprocess.Popen[bytes]:
    """The first one, ready."""
    process = edges.start()
    edges.wait_ready()
    return process


def workers(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Its DNS workers."""
    found = []
    for child in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.Error):  # it may end meanwhile
            if "dns" in child.cmdline():
                found.append(child)
    return found


class Asking:
    """A client that asks without pause over UDP, each query once, and keeps count."""

    def __init__(self, port: int) -> None:
        self.sent = 0
        self.failed = 0
        """Answers other than NOERROR."""
        self._packet = dns.message.make_query(NAME, "A", use_edns=0).to_wire()[2:]
        self._open: list[set[int]] = [set() for _ in range(SOCKETS)]
        self._selector = selectors.DefaultSelector()
        self._sockets = []
        for number in range(SOCKETS):
            sock = socket.socket(type=socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            sock.connect(("127.0.0.1", port))
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, number)
            self._sockets.append(sock)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def lost(self) -> int:
        """Queries without an answer."""
        return sum(map(len, self._open))

    def __enter__(self) -> Asking:
        self._thread.start()
        self.go_on(RATE // 4)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for sock in self._sockets:
            sock.close()

    def go_on(self, count: int) -> None:
        """Until so many more have been sent."""
        target = self.sent + count
        until(lambda: self.sent >= target, f"{count} queries")

    def finish(self) -> None:
        """Sends no more, and waits for what is missing."""
        self._stop.set()
        self._thread.join()
        deadline = time.monotonic() + DEADLINE_S
        while self.lost and time.monotonic() < deadline:
            self._receive(0.05)

    def _run(self) -> None:
        started, sent = time.monotonic(), 0
        while not self._stop.is_set():
            due = min(int((time.monotonic() - started) * RATE), sent + 4 * SOCKETS)
            for _ in range(due - sent):
                number = self.sent % SOCKETS
                identity = self.sent // SOCKETS
                assert identity < 65_536, "identities are used once"
                self._open[number].add(identity)
                self._sockets[number].send(identity.to_bytes(2, "big") + self._packet)
                self.sent += 1
            sent = due
            self._receive(0.002)

    def _receive(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            with contextlib.suppress(BlockingIOError):
                while True:
                    reply = key.fileobj.recv(4096)  # type: ignore[union-attr]
                    self._open[key.data].discard(int.from_bytes(reply[:2], "big"))
                    self.failed += reply[3] & 0xF != NOERROR


class Connecting:
    """A client that opens a TCP connection for every query, and keeps count."""

    def __init__(self, port: int) -> None:
        self.answered = 0
        self.refused: list[str] = []
        self._port = port
        self._query = dns.message.make_query(NAME, "A").to_wire()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Connecting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            try:
                with socket.create_connection(("127.0.0.1", self._port), timeout=10) as stream:
                    stream.sendall(len(self._query).to_bytes(2, "big") + self._query)
                    if not stream.recv(4096):
                        raise ConnectionResetError("closed without an answer")
                    self.answered += 1
            except OSError as error:
                self.refused.append(repr(error))


def test_a_reload_loses_nothing(edges: Edges, edge: subprocess.Popen[bytes]) -> None:
    """SIGHUP, and documents that change what is answered."""
    text = edges.document.read_text()
    with Asking(edges.dns) as asking:
        for address in ("192.0.2.71", "192.0.2.72"):
            edges.document.write_text(text.replace("ipv4: 192.0.2.10,", f"ipv4: {address},"))
            edge.send_signal(signal.SIGHUP)
            until(lambda address=address: edges.answer() == [address], "it is in force")
            asking.go_on(RATE // 2)
        asking.finish()
    assert (asking.lost, asking.failed) == (0, 0), asking.sent
    assert asking.sent > RATE


def test_a_killed_worker_s_queue_is_answered_by_its_successor(
    edges: Edges, edge: subprocess.Popen[bytes]
) -> None:
    """Only the datagram in its hands is gone: it reads one, answers it, and reads the next."""
    with Asking(edges.dns) as asking:
        killed = workers(edge)
        assert len(killed) == DNS_WORKERS
        for worker in killed:
            worker.kill()
        until(lambda: len({*workers(edge)} - {*killed}) == DNS_WORKERS, "they are replaced")
        asking.go_on(RATE)
        asking.finish()
    assert asking.lost <= DNS_WORKERS, asking.sent
    assert asking.failed == 0


def test_a_take_over_loses_nothing(edges: Edges, edge: subprocess.Popen[bytes]) -> None:
    """Twice, the second time with another number of workers: no datagram, no connection."""
    in_place = edge
    with Asking(edges.dns) as asking, Connecting(edges.dns) as connecting:
        for count in (DNS_WORKERS + 1, 1):
            successor = edges.start("--take-over", FIRSTHOP_DNS_WORKERS=str(count))
            until(lambda old=in_place: old.poll() is not None, "the old one ends")
            assert in_place.returncode == 0
            until(lambda: edges.get("/healthz"), "the metrics are served again")
            asking.go_on(RATE // 2)
            assert len(workers(successor)) == count
            in_place = successor
        asking.finish()
    assert (asking.lost, asking.failed) == (0, 0), asking.sent
    assert connecting.refused == []
    assert connecting.answered > 10
    assert edges.get("/healthz", edges.allocator)
    assert in_place.poll() is None
    in_place.send_signal(signal.SIGTERM)
    assert ends(in_place) == 0


def ends(process: subprocess.Popen[bytes]) -> int:
    """The exit code, soon."""
    return process.wait(timeout=DEADLINE_S)


def test_a_successor_that_fails_leaves_the_edge_in_place(
    edges: Edges, edge: subprocess.Popen[bytes]
) -> None:
    """A bad document, a crash in the middle, and one without leave: nobody notices."""
    good = edges.document.read_text()
    with Asking(edges.dns) as asking:
        assert ends(edges.start()) == 1
        assert edges.said("another edge runs on the state folder")
        bad = edges.document.with_name("bad.yaml")
        bad.write_text(good.replace("latitude: 50.11", "latitude: 500", 1))
        assert ends(edges.start("--take-over", FIRSTHOP_CONFIG=str(bad))) == 1
        assert edges.said("line 3: regions/0/latitude")
        crashing = edges.start("--take-over")
        until(lambda: psutil.Process(crashing.pid).children(), "its workers start")
        crashing.kill()
        crashing.wait()
        asking.go_on(RATE // 2)
        asking.finish()
    assert (asking.lost, asking.failed) == (0, 0), asking.sent
    assert edge.poll() is None
    assert (edges.state / "edge.sock").stat().st_mode & 0o777 == 0o600
    successor = edges.start("--take-over")
    until(lambda: edge.poll() == 0, "a good one takes over all the same")
    assert successor.poll() is None


def test_of_two_successors_one_wins(edges: Edges, edge: subprocess.Popen[bytes]) -> None:
    """Exactly one of three processes goes on, whichever."""
    with Asking(edges.dns) as asking:
        two = [edges.start("--take-over") for _ in range(2)]
        until(lambda: edge.poll() == 0, "the old one ends")
        until(lambda: edges.get("/healthz"), "one of them is in place")
        asking.finish()
    assert (asking.lost, asking.failed) == (0, 0), asking.sent
    # The loser was told so, or came so late that it took over from the winner.
    until(lambda: sum(each.poll() is None for each in two) == 1, "one is left")
    (loser,) = (each for each in two if each.returncode is not None)
    assert loser.returncode == (1 if edges.said("another edge is taking over") else 0)


def test_a_take_over_without_anybody_is_a_start(edges: Edges) -> None:
    """So one command serves for both; and what a killed edge left behind is no hindrance."""
    first = edges.start("--take-over")
    edges.wait_ready()
    first.kill()
    first.wait()
    until(lambda: not _in_use(edges.dns), "its workers are gone")
    second = edges.start("--take-over")
    edges.wait_ready()
    second.send_signal(signal.SIGTERM)
    assert ends(second) == 0


def _in_use(port: int) -> bool:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def test_sigterm_answers_what_has_come_in(edges: Edges, edge: subprocess.Popen[bytes]) -> None:
    """Datagrams that wait in the queues of workers that were held up are answered at the end."""
    held = workers(edge)
    for worker in held:
        worker.suspend()
    query = dns.message.make_query(NAME, "A", use_edns=0).to_wire()
    with contextlib.ExitStack() as stack:
        asking = [stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(200)]
        for sock in asking:
            sock.settimeout(DEADLINE_S)
            sock.connect(("127.0.0.1", edges.dns))
            sock.send(query)
        edge.send_signal(signal.SIGTERM)
        until(lambda: not edges.get("/healthz"), "it is stopping")
        for worker in held:
            worker.resume()
        for sock in asking:
            assert sock.recv(4096)[3] & 0xF == NOERROR
    assert ends(edge) == 0


def test_before_there_is_a_table_queries_hear_that(edges: Edges) -> None:
    """An edge that has never heard its control plane is not silent: SERVFAIL, not ready."""
    key = edges.document.with_name("snapshot.pub")
    key.write_text(bytes(range(32)).hex())
    nobody = f"http://127.0.0.1:{free_port()}"
    following = {"FIRSTHOP_API_URL": nobody, "FIRSTHOP_TOKEN": "t"}
    edges.environment.pop("FIRSTHOP_CONFIG")
    process = edges.start(**following, FIRSTHOP_SNAPSHOT_KEY=str(key))
    query = dns.message.make_query(NAME, "A", use_edns=0).to_wire()

    def answer() -> bytes:
        with socket.socket(type=socket.SOCK_DGRAM) as sock, contextlib.suppress(OSError):
            sock.settimeout(DEADLINE_S)
            sock.connect(("127.0.0.1", edges.dns))
            sock.send(query)
            return sock.recv(4096)
        return b""

    assert until(answer, "an answer")[3] & 0xF == 2
    assert '"ready": false' in _readyz(edges)
    process.send_signal(signal.SIGTERM)
    assert ends(process) == 0


def _readyz(edges: Edges) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{edges.metrics}/readyz") as response:
            return str(response.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()
