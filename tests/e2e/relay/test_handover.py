"""A relay restarts, and nobody hears it: successors, several workers, workers that die."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import psutil
import pytest

from firsthop_net.listening import bind_tcp, bind_udp
from firsthop_relay.flows.flow_table import FlowTable
from firsthop_relay.flows.route_text import read_routes
from firsthop_relay.io import streams
from firsthop_relay.io.server import RelayServer
from firsthop_relay.survival import handover
from support.media import (
    REGION,
    RTP,
    Client,
    FarEnd,
    TcpClient,
    adds_up,
    check,
    counters,
    credential,
    far_end,
    write_routes,
)
from support.relays import CLIENTS, Options, counted_by, started, workers_of
from support.standin import keyset, own_address, running, write_route_keys
from support.waiting import DEADLINE_S, eventually

pytestmark = pytest.mark.e2e
PACE_S = 0.02
"""Of a packet of audio."""


async def talk(clients: list[Client], sent: list[int], stop: asyncio.Event) -> list[int]:
    """Every client sends numbered packets at the pace of audio; how many echoes each has missed."""

    async def one(client: Client) -> int:
        missed = 0
        number = 0
        while not stop.is_set():
            number += 1
            packet = RTP + number.to_bytes(4, "big")
            missed += await client.ask(packet, DEADLINE_S) != packet  # late is not lost
            sent[0] += 1
            await asyncio.sleep(PACE_S)
        return missed

    return await asyncio.gather(*map(one, clients))


@pytest.mark.parametrize("workers", [1, 3])
async def test_a_successor_takes_over_without_losing_a_packet(tmp_path: Path, workers: int) -> None:
    """Calls by UDP and TCP go on by the same upstream ports while the process is another one."""
    keys, options = keyset(), Options(tmp_path, workers=workers)
    write_route_keys(tmp_path / "keys", keys)
    async with far_end(keys) as far, started(options, tmp_path, far) as old:
        clients = [Client(options.address) for _ in range(CLIENTS)]
        for client in clients:
            await client.connect(credential(keys))
        by_tcp = await TcpClient.connect(options.tcp)
        assert await by_tcp.ask(check(credential(keys)))
        by_tcp.writer.write(b"\0")  # the first half of a length
        await by_tcp.writer.drain()
        upstream_ports = set(far.sources)
        sent, stop = [0], asyncio.Event()
        talking = asyncio.create_task(talk(clients, sent, stop))
        async with running("relay", *options.arguments, "--take-over") as new:
            await new.said("relay.listening")
            assert await old.ended() == 0
            before = sent[0]
            async with asyncio.timeout(120):
                while sent[0] < before + 5 * CLIENTS:
                    await counters(options.metrics)
            stop.set()
            assert await talking == [0] * CLIENTS, (old.log, new.log)
            by_tcp.writer.write(bytes((len(RTP),)) + RTP)
            assert await by_tcp.hear() == RTP
            assert set(far.sources) == upstream_ports
            counted = await counted_by(options, sessions=CLIENTS + 1)
            assert counted["flows_restored_total"] == CLIENTS + 1
            assert counted["flows_opened_total"] == 0
            new.send(signal.SIGTERM)
            assert await new.ended() == 0
        for client in clients:
            client.close()
        by_tcp.close()


def in_process(far: FarEnd, sock: socket.socket) -> RelayServer:
    """A relay in this process that listens at a socket."""
    host, port = far.address
    route = f"{{region: {REGION}, upstreams: [{{host: {host}, port: {port}}}]}}"
    server = RelayServer(FlowTable(routes=read_routes(f"routes: [{route}]")), max_files=100)
    server.listen(sock)
    return server


def flow_of(server: RelayServer, client: Client, far: FarEnd) -> None:
    """Give a relay a confirmed flow of a client."""
    ((sock, listener),) = server.udp.items()
    source = client.sock.getsockname()
    ufrag = credential(keyset()).ufrag.encode()
    flow = server.restore(listener, source, ufrag, far.address, age_s=100, reply=sock.sendto)
    assert flow is not None
    assert server.upstreams.open(flow)


@pytest.mark.parametrize("former", [False, True])
async def test_a_predecessor_of_an_earlier_release_is_understood(former: bool) -> None:
    """It describes its flows field by field; one of this release gives records."""
    host, keys = own_address(), keyset()
    async with far_end(keys) as far:
        old = in_process(far, bind_udp(host, 3478))
        new = in_process(far, bind_udp(host, 3478, shared=True))
        client = Client((host, 3478))
        flow_of(old, client, far)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            assert handover.give(old, ours) == 1
            (batch,) = handover.receive(theirs)
        (flow,) = old.upstreams.flows.values()
        if former:
            entry = {
                "lane": [socket.SOCK_DGRAM, host, 3478],
                "source": list(flow.source),
                "ufrag": flow.ufrag.decode(),
                "upstream": list(flow.upstream),
                "age_s": 100.0,
            }
            batch = handover.Batch({"flows": [entry]}, batch.files)
        assert handover.adopt(new, [batch]) == 1
        (adopted,) = new.upstreams.flows.values()
        assert adopted.leg.getsockname() == flow.leg.getsockname()
        assert adopted.opened_at == pytest.approx(flow.opened_at, abs=0.5)
        for server in (old, new):
            server.close()
        client.close()


async def test_a_connection_without_a_flow_does_not_outlive_a_take_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It gets the time of one check, as from the predecessor; so none can be held open for ever."""
    monkeypatch.setattr(streams, "UNCONFIRMED_S", 3600)
    monkeypatch.setattr(streams, "CHECKED_WITHIN_S", 0.1)
    host = own_address()
    async with far_end(keyset()) as far:
        sock = bind_tcp(host, 443)
        new = in_process(far, sock.dup())
        old = in_process(far, sock)
        old.start()
        client = await TcpClient.connect((host, 443))
        client.writer.write(b"\0")  # the first half of a length
        await eventually(lambda: old.reading()["streams"][""], "the connection is accepted")
        old.pause()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            handover.give(old, ours)
            handover.adopt(new, handover.receive(theirs))
        old.close()
        new.start()
        assert await client.hear() is None
        assert new.counters.streams_refused["silent"] == 1
        new.close()
        client.close()


async def test_a_successor_of_an_earlier_release_finds_no_listener() -> None:
    """So it closes the sockets, and restores the flows from the journal by their ports."""
    host, keys = own_address(), keyset()
    async with far_end(keys) as far:
        server, client = in_process(far, bind_udp(host, 3478)), Client((host, 3478))
        flow_of(server, client, far)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            handover.give(server, ours)
            (batch,) = handover.receive(theirs)
        (entry,) = batch.content["flows"]
        assert "held" not in entry, "it is no TCP connection"
        assert (entry["lane"], entry["source"], entry["upstream"]) == ([], [], ["", 0])
        for file in batch.files:
            os.close(file)
        server.close()
        client.close()


async def test_flows_stay_with_their_worker_and_counters_add_up(tmp_path: Path) -> None:
    """Three workers at one address: each client's packets reach the one that knows it."""
    keys, options = keyset(), Options(tmp_path, workers=3)
    write_route_keys(tmp_path / "keys", keys)
    async with far_end(keys) as far, started(options, tmp_path, far):
        clients = [Client(options.address) for _ in range(CLIENTS)]
        for client in clients:
            await client.connect(credential(keys))
        for client in clients:
            for _ in range(10):
                assert await client.echo()
        counted = await counted_by(options, sessions=CLIENTS)
        async with asyncio.timeout(120):
            while counted['packets_forwarded_total{to="client"}'] < 11 * CLIENTS:
                counted = await counters(options.metrics)
        assert adds_up(counted)
        assert counted['packets_dropped_total{reason="not_a_check"}'] == 0
        shares = [workers_sockets(each) for each in workers_of(options)]
        assert all(share > 1 for share in shares), shares
        for client in clients:
            client.close()


def workers_sockets(process: psutil.Process) -> int:
    """How many UDP sockets a worker has: a listener, and one a flow."""
    return sum(each.type == 2 for each in process.net_connections("udp"))


async def test_without_a_state_folder_nobody_can_take_over(tmp_path: Path) -> None:
    keys, options = keyset(), Options(tmp_path, workers=1)
    write_route_keys(tmp_path / "keys", keys)
    write_routes(tmp_path / "routes.yaml")
    async with running("relay", *options.arguments) as first:
        await first.said("relay.listening")
        async with running("relay", *options.arguments) as second:
            assert await second.ended() == 1
            assert "another relay runs on the state folder" in second.log
    async with running("relay", *options.arguments[:-2], "--take-over") as nowhere:
        assert await nowhere.ended() == 2
        assert "--state-dir" in nowhere.log
