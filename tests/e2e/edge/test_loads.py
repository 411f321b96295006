"""An edge hears the load of real relays: workers added up, drained, dead, silent and lying ones."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import psutil
import pytest

from firsthop.edge.isolation.relay_loads import Askable, LoadWatch, ReportedLoad
from firsthop_ice.relay_load import RelayLoad, load_request, read_load
from firsthop_ice.stun import StunMessageType, binding_success, build
from firsthop_ice.ufrag import CredentialKeys, mint_probe
from firsthop_steering.feed.snapshot import KeySet
from support.media import Client, credential, far_end
from support.relays import CLIENTS, Options, counted_by, site, started, workers_of
from support.standin import keyset, own_address, running, write_route_keys
from support.waiting import eventually

pytestmark = pytest.mark.e2e
SOCKETS = 16
"""So that the kernel's hash lets every worker answer."""
ROUNDS = 50
"""Of all sockets: more than two seconds."""


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firsthop.edge.isolation.relay_loads.INTERVAL_S", 0.1)


@asynccontextmanager
async def watching(relays: Iterable[Askable], keys: KeySet | None) -> AsyncIterator[LoadWatch]:
    listed = list(relays)
    watch = LoadWatch(lambda: listed, lambda: keys)
    running = asyncio.create_task(watch.run())
    watch.start()
    try:
        yield watch
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def sessions(heard: ReportedLoad | None) -> int | None:
    return None if heard is None else heard.sessions


async def told(address: tuple[str, int], keys: KeySet) -> set[RelayLoad | None]:
    """What a relay says to many sockets."""
    reader = mint_probe(
        CredentialKeys.from_keyset(keys),
        expires_at=datetime.now(UTC) + timedelta(minutes=5),
        entropy=os.urandom(7),
        reads_load=True,
    )
    heard: set[RelayLoad | None] = set()
    for _ in range(SOCKETS):
        client = Client(address)
        answer = await client.ask(load_request(os.urandom(12), reader))
        load = None if answer is None else read_load(answer, reader.password)
        assert load is None or isinstance(load, RelayLoad)
        heard.add(load)
        client.close()
    return heard


async def until_told(address: tuple[str, int], keys: KeySet, load: RelayLoad) -> None:
    async with asyncio.timeout(120):
        while await told(address, keys) != {load}:
            pass


async def test_the_sessions_of_all_workers_are_added_up(tmp_path: Path) -> None:
    """Whichever answers; also after one has died, and while the relay drains."""
    keys, options = keyset(), Options(tmp_path, workers=2)
    write_route_keys(tmp_path / "keys", keys)
    async with far_end(keys) as far, started(options, tmp_path, far) as relay:
        clients = [Client(options.address) for _ in range(CLIENTS)]
        for client in clients:
            await client.connect(credential(keys))
        await until_told(options.address, keys, RelayLoad(CLIENTS, draining=False))
        await counted_by(options, sessions=CLIENTS)  # what its agent would report
        victim = workers_of(options)[0]
        victim.kill()
        restored = asyncio.create_task(relay.said("flows.restored"))
        after = 0
        while after < ROUNDS:  # workers tell each other every second
            after += restored.done()
            assert await told(options.address, keys) <= {RelayLoad(CLIENTS, draining=False), None}
        await until_told(options.address, keys, RelayLoad(CLIENTS, draining=False))
        fra = ("fra-1", ip_address(options.host), 3478)
        async with watching([fra], keys) as watch:
            await eventually(lambda: sessions(watch.loads().get("fra-1")) == CLIENTS, "the sum")
            relay.send(signal.SIGUSR1)
            await eventually(lambda: watch.loads()["fra-1"].draining, "that it drains")
            assert sessions(watch.loads()["fra-1"]) == CLIENTS
        for client in clients:
            client.close()


async def test_sessions_come_and_go(tmp_path: Path) -> None:
    """In one process they are there at once."""
    process = psutil.Process()
    async with site(tmp_path, "--flow-idle", "1") as there:
        client = Client(there.address)
        await client.connect(credential(there.keys))
        fra = ("fra-1", ip_address(there.address[0]), there.address[1])
        async with watching([fra], there.keys) as watch:
            await eventually(lambda: sessions(watch.loads().get("fra-1")) == 1, "a session")
            client.close()
            await eventually(lambda: sessions(watch.loads().get("fra-1")) == 0, "that it has ended")
            own = process.num_fds()
            watch.stop()
            await eventually(lambda: process.num_fds() < own, "its sockets closed")
            assert sessions(watch.loads().get("fra-1")) == 0, "known until it is too old"


async def test_who_cannot_answer_keeps_nobody_from_being_heard(tmp_path: Path) -> None:
    """A closed port, an address without a way, another's keys: unknown, beside one that is."""
    host = own_address()
    write_route_keys(tmp_path / "other", keyset())
    strange = ("--listen", f"{host}:3478", "--route-keys", str(tmp_path / "other"))
    async with site(tmp_path) as there, running("relay", *strange) as relay:
        await relay.said("relay.listening")
        relays = [
            ("closed", ip_address(host), 9),
            ("no-way", ip_address("255.255.255.255"), 3478),
            ("no-way-6", ip_address("ff02::1"), 3478),
            ("strange", ip_address(host), 3478),
            ("good", ip_address(there.address[0]), there.address[1]),
        ]
        async with watching(relays, there.keys) as watch:
            await eventually(lambda: watch.board.outcomes["heard"] >= 5, "five answers")
            assert set(watch.loads()) == {"good"}
            assert watch.board.outcomes["not_sent"] >= 5
            assert watch.board.outcomes["asked"] >= watch.board.outcomes["heard"]


async def test_by_ipv6(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as free:
        try:
            free.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
        port = free.getsockname()[1]
    async with (
        site(tmp_path, "--listen", f"[::1]:{port}") as there,
        watching([("six", ip_address("::1"), port)], there.keys) as watch,
    ):
        await eventually(lambda: watch.loads().get("six"), "an answer by IPv6")


async def test_one_family_is_enough(tmp_path: Path) -> None:
    """A relay with two addresses, of which this edge reaches only one; whichever that is."""
    async with site(tmp_path) as there:
        good = ip_address(there.address[0])
        for silent in (ip_address("127.255.0.9"), ip_address("ff02::1")):
            both = [("both", each, there.address[1]) for each in sorted([good, silent], key=str)]
            async with watching(both, there.keys) as watch:
                await eventually(lambda: watch.board.outcomes["heard"] >= 3, "three answers")
                assert set(watch.loads()) == {"both"}


class Liar(asyncio.DatagramProtocol):
    """Answers everything, with nothing that a relay would say."""

    def __init__(self) -> None:
        self.asked = 0

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked += 1
        load = (0xC0F1, bytes(8))
        for answer in (
            os.urandom(80),
            data,
            b"",
            build(StunMessageType.SUCCESS, data[8:20], [load]),
            binding_success(data[8:20], addr, "a guess", [load]),
            binding_success(os.urandom(12), addr, "a guess", [load]),
        ):
            self.transport.sendto(answer, addr)


async def test_nobody_who_lies_is_believed() -> None:
    keys, host = keyset(), own_address()
    loop = asyncio.get_running_loop()
    _, liar = await loop.create_datagram_endpoint(Liar, local_addr=(host, 3478))
    async with watching([("fra-1", ip_address(host), 3478)], keys) as watch:
        outcomes = watch.board.outcomes
        await eventually(lambda: liar.asked > 3 and outcomes["integrity"] > 6, "lies")
        assert outcomes["heard"] == 0
        assert watch.loads() == {}
        assert outcomes["stray"] > 0
    liar.transport.close()
