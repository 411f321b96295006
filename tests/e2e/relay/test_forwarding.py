"""Real packets through a real relay: calls, restarts of files, drain, limits, junk, TCP."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
from pathlib import Path

import psutil
import pytest
from aiohttp import ClientSession

from firsthop_healthchecks.agent.round_trips import RelayRoundTrips
from firsthop_healthchecks.agent.samples import AgentSampleReporter
from firsthop_healthchecks.probes import Passed
from firsthop_healthchecks.probes.stun import StunProbe
from firsthop_ice.ufrag import RouteKeys
from firsthop_net.listening import bind_udp
from firsthop_relay.flows.drops import Drop
from firsthop_relay.flows.flow_table import FlowTable
from firsthop_relay.flows.route_text import read_routes
from firsthop_relay.io.server import RelayServer
from firsthop_steering.feed.measurements import SampleBatch
from firsthop_steering.feed.sample_queue import SampleUploadQueue
from support.media import (
    REGION,
    RTP,
    Client,
    TcpClient,
    adds_up,
    check,
    credential,
    far_end,
    write_routes,
)
from support.relays import process_of, site
from support.standin import keyset, own_address, running, stun_target

pytestmark = pytest.mark.e2e


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(("::1", 0))
        except OSError:
            return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")


async def test_a_call(tmp_path: Path) -> None:
    """The first check routes itself; then every packet is passed on as it is, both ways."""
    async with site(tmp_path) as there:
        client, stranger = Client(there.address), Client(there.address)
        assert await client.ask(RTP) is None, "nothing is passed before a check"
        await client.connect(credential(there.keys))
        for packet in (RTP, b"\x16\xfe\xfd" + bytes(1200), b"\x80" + bytes(60_000)):
            assert await client.echo(packet)
        assert await stranger.ask(RTP) is None
        assert len(there.far.sources) == 1
        counted = await there.counted()
        assert counted["sessions"] == 1
        assert counted['packets_forwarded_total{to="client"}'] >= 4
        assert adds_up(counted)
        client.close()
        stranger.close()


@needs_ipv6
@pytest.mark.parametrize(("relay_host", "far_host"), [("::1", "127.0.0.1"), ("", "::1")])
async def test_both_families_on_both_legs(tmp_path: Path, relay_host: str, far_host: str) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as free:
        free.bind(("::1", 0))
        port = free.getsockname()[1]
    async with site(tmp_path, "--listen", f"[::1]:{port}", far_host=far_host) as there:
        client = Client(("::1", port) if relay_host else there.address)
        await client.connect(credential(there.keys))
        assert await client.echo()
        assert ":" in next(iter(there.far.sources))[0] or far_host == "127.0.0.1"
        client.close()


async def test_a_client_whose_address_changes(tmp_path: Path) -> None:
    """A new source port, as by a NAT that forgot: back by the next check, and one flow is left."""
    async with site(tmp_path, "--flow-idle", "2") as there:
        before, after = Client(there.address), Client(there.address)
        session = credential(there.keys)
        await before.connect(session)
        before.close()
        assert await after.ask(RTP) is None
        await after.connect(session)
        assert await after.echo()
        async with asyncio.timeout(120):
            while (await there.counted())['flows{state="confirmed"}'] != 1:
                assert await after.echo()
        assert (await there.counted())["sessions"] == 1
        assert await after.echo()
        after.close()


async def test_two_levels(tmp_path: Path) -> None:
    """A global relay leads to a cluster relay, and that to the transceiver: one program."""
    async with site(tmp_path) as cluster:
        host = own_address()
        table = tmp_path / "global.yaml"
        upstream = f"{{host: {cluster.address[0]}, port: {cluster.address[1]}}}"
        table.write_text(f"routes: [{{region: {REGION}, upstreams: [{upstream}]}}]")
        files = ("--route-keys", str(tmp_path / "keys"), "--routes", str(table))
        async with running("relay", "--listen", f"{host}:3478", *files) as relay:
            await relay.said("relay.listening")
            client = Client((host, 3478))
            await client.connect(credential(cluster.keys))
            assert await client.echo()
            assert (await cluster.counted())["sessions"] == 1
            client.close()


async def test_routes_change_while_it_runs(tmp_path: Path) -> None:
    """New sessions go by the new table, old ones stay; a broken table changes nothing."""
    async with site(tmp_path) as there, far_end(there.keys) as other:
        old, new = Client(there.address), Client(there.address)
        await old.connect(credential(there.keys))
        assert not await new.check(credential(there.keys, transceiver=2))
        there.routes.write_text("routes: 5")
        await there.relay.said("routes.refused")
        write_routes(there.routes, other, other)
        there.relay.send(signal.SIGHUP)
        await there.relay.said("routes.loaded")
        await new.connect(credential(there.keys, transceiver=2))
        assert await new.echo()
        assert await old.echo()
        assert len(other.sources) == 1
        counted = await there.counted()
        assert counted['packets_dropped_total{reason="no_route"}'] == 1
        old.close()
        new.close()


async def test_drain(tmp_path: Path) -> None:
    """SIGUSR1: no new sessions, calls and probes go on; SIGUSR2 takes it back."""
    async with site(tmp_path) as there:
        probe = StunProbe()
        old, new = Client(there.address), Client(there.address)
        await old.connect(credential(there.keys))
        there.relay.send(signal.SIGUSR1)
        await there.relay.said("relay.draining")
        session = credential(there.keys)
        assert not await new.check(session)
        assert await old.echo()
        target = stun_target(there.address[0], there.keys, timeout_s=5)
        assert isinstance(await probe.check(target), Passed)
        counted = await there.counted()
        assert counted["draining"] == 1
        assert counted['packets_dropped_total{reason="draining"}'] == 1
        there.relay.send(signal.SIGUSR2)
        await there.relay.said("relay.opened")
        await new.connect(session)
        await probe.close()
        old.close()
        new.close()


async def test_a_transceiver_that_is_gone_costs_only_its_packets(tmp_path: Path) -> None:
    """ICMP errors of one upstream disturb nobody."""
    async with site(tmp_path) as there, far_end(there.keys) as other:
        write_routes(there.routes, there.far, other)
        there.relay.send(signal.SIGHUP)
        await there.relay.said("routes.loaded")
        lost, other_one = Client(there.address), Client(there.address)
        await lost.connect(credential(there.keys))
        await other_one.connect(credential(there.keys, transceiver=2))
        there.far.close()
        for _ in range(20):
            assert await lost.ask(RTP, 0.01) is None
            assert await other_one.echo()
        assert adds_up(await there.counted())
        lost.close()
        other_one.close()


def lowest_free(process: psutil.Process) -> int:
    """The descriptor that it would be given next."""
    used = {int(each.name) for each in Path(f"/proc/{process.pid}/fd").iterdir()}
    return min({*range(len(used) + 1)} - used)


async def test_no_descriptor_is_left(tmp_path: Path) -> None:
    """New flows are refused and counted; the calls there are go on, and so do new ones later."""
    async with site(tmp_path) as there:
        process = process_of(there)
        first, second = Client(there.address), Client(there.address)
        await there.counted()  # it has opened all files that it needs
        await first.connect(credential(there.keys))
        soft, hard = process.rlimit(psutil.RLIMIT_NOFILE)
        process.rlimit(psutil.RLIMIT_NOFILE, (lowest_free(process), hard))
        session = credential(there.keys)
        assert not await second.check(session)
        assert await first.echo()
        process.rlimit(psutil.RLIMIT_NOFILE, (soft, hard))
        await second.connect(session)
        assert await second.echo()
        counted = await there.counted()
        assert counted['packets_dropped_total{reason="no_socket"}'] == 1
        assert counted['flows_closed_total{reason="socket"}'] == 1
        assert adds_up(counted)
        first.close()
        second.close()


async def test_a_reserve_of_descriptors_is_kept() -> None:
    """A server takes so many sockets and no more."""
    keys, host = keyset(), own_address()
    async with far_end(keys) as far:
        name, port = far.address
        routes = read_routes(
            f"routes: [{{region: {REGION}, upstreams: [{{host: {name}, port: {port}}}]}}]"
        )
        server = RelayServer(
            FlowTable(keys=RouteKeys.from_keyset(keys), routes=routes), max_files=1
        )
        server.listen(bind_udp(host, 3478))
        server.start()
        first, second = Client((host, 3478)), Client((host, 3478))
        await first.connect(credential(keys))
        assert not await second.check(credential(keys))
        assert await first.echo()
        assert server.counters.dropped[Drop.NO_SOCKET] == 1
        server.close()
        first.close()
        second.close()


async def test_junk_opens_nothing_and_gets_nothing(tmp_path: Path) -> None:
    """100,000 packets from a hundred sources, and a check cut at each byte."""
    async with site(tmp_path) as there:
        chance = random.Random(11)
        process = process_of(there)
        whole = check(credential(there.keys))
        strangers = [Client(there.address) for _ in range(100)]
        for size in range(len(whole)):
            strangers[size % 100].sock.send(whole[:size])
        sockets = len(process.net_connections("udp"))
        memory = 0
        for number in range(100_000):
            junk = chance.randbytes(chance.randrange(1, 200))
            strangers[number % 100].sock.send(whole[:20] + junk if number % 3 else junk)
            if number % 500 == 499:  # no faster than it reads, so that all of it is judged
                async with asyncio.timeout(120):
                    while (await there.counted())["packets_received_total"] < number:
                        pass
            if number == 20_000:
                memory = process.memory_info().rss
        for each in strangers:
            with pytest.raises(BlockingIOError):
                each.sock.recv(1)
            each.close()
        counted = await there.counted()
        assert counted["flows_opened_total"] == 0
        assert counted["packets_received_total"] >= 100_000 + len(whole)
        assert (
            sum(v for n, v in counted.items() if n.startswith("packets_dropped"))
            == (counted["packets_received_total"])
        )
        assert len(process.net_connections("udp")) == sockets
        assert process.memory_info().rss - memory < 5 * 2**20
        assert not there.far.sources


async def test_ice_tcp(tmp_path: Path) -> None:
    """A client by TCP, with packets that share segments and one that comes in pieces."""
    host = own_address()
    options = ("--listen-tcp", f"{host}:443")
    async with site(tmp_path, *options) as there:
        session = credential(there.keys)
        client = await TcpClient.connect((host, 443))
        request = check(session)
        answer = await client.ask(request)
        assert answer is not None
        assert answer[8:20] == request[8:20]
        assert await client.ask(RTP, b"\x80" + bytes(3000), RTP) == RTP
        assert await client.hear() == b"\x80" + bytes(3000)
        assert await client.hear() == RTP
        for byte in (160).to_bytes(2, "big") + RTP:
            client.writer.write(bytes((byte,)))
            await client.writer.drain()
        assert await client.hear() == RTP
        counted = await there.counted()
        assert (counted["sessions"], counted["streams"]) == (1, 1)
        assert adds_up(counted)
        client.close()
        async with asyncio.timeout(120):
            while (await there.counted())["streams"] or (await there.counted())["sessions"]:
                pass
        # Measured when the flow opened and when the connection ended; strangers are not.
        measured = await there.measured(0.0)
        assert [each["client"] for each in measured] == ["127.0.0.0/24"] * 2
        assert all(0 < each["rtt_ms"] < 1000 for each in measured)
        assert await there.measured(measured[0]["at"]) == measured[1:]
        assert await there.measured(measured[1]["at"]) == []


async def test_an_agent_passes_on_what_several_workers_measured(tmp_path: Path) -> None:
    """Each connection twice, at its flow's begin and at its end, and none of them twice over."""
    host, sent, board = own_address(), [], SampleUploadQueue()

    class ControlPlane:
        async def send_samples(self, batch: SampleBatch) -> None:
            sent.extend(batch.samples)

    options = ("--listen-tcp", f"{host}:443", "--workers", "2")
    async with site(tmp_path, *options) as there, ClientSession() as session:
        agent = RelayRoundTrips(
            "fra-1", f"http://{there.address[0]}:9000/samples", session, board=board
        )
        reporter = AgentSampleReporter(ControlPlane(), board)
        for _ in range(6):
            client = await TcpClient.connect((host, 443))
            assert await client.ask(check(credential(there.keys))) is not None
            client.close()
        async with asyncio.timeout(120):
            while len(sent) < 12:
                await agent.read()
                await reporter.send()
        assert len(await there.measured(0.0)) == 12
        await agent.read()
        await reporter.send()
        assert len(sent) == 12
        assert {(str(each.client), each.relay) for each in sent} == {("127.0.0.0", "fra-1")}


@pytest.mark.parametrize("opening", [b"GET / HTTP/1.1\r\n\r\n", b"\0\0", b"\0\x02ab", b"\xff\xff"])
async def test_strangers_by_tcp_are_cut_off(tmp_path: Path, opening: bytes) -> None:
    """At their first packet, without a word."""
    host = own_address()
    async with site(tmp_path, "--listen-tcp", f"{host}:443") as there:
        client = await TcpClient.connect((host, 443))
        client.writer.write(opening)
        assert await client.hear() is None
        counted = await there.counted()
        assert counted['streams_refused_total{reason="no_check"}'] == 1
        assert counted["streams"] == 0
        client.close()


async def test_silent_connections_are_ended(tmp_path: Path) -> None:
    """Also those that send a check an octet at a time."""
    host = own_address()
    async with site(tmp_path, "--listen-tcp", f"{host}:443") as there:
        silent, slow = [await TcpClient.connect((host, 443)) for _ in range(2)]

        async def drip() -> None:
            for octet in b"\0\x64" + bytes(100):
                slow.writer.write(bytes([octet]))
                await slow.writer.drain()
                await asyncio.sleep(0.2)

        dripping = asyncio.create_task(drip())
        assert await silent.hear() is None
        assert await slow.hear() is None
        dripping.cancel()
        counted = await there.counted()
        assert counted['streams_refused_total{reason="silent"}'] == 2
        silent.close()
        slow.close()
