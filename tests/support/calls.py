"""Calls under test: transceivers, an allocator over them, and a forwarder in the middle."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from firsthop_allocator.settings import AllocatorSettings
from firsthop_ice.region_keys import RegionKeys
from firsthop_ice.stun import peek_username, split_username
from support import standin
from support.allocator_server import SETTINGS, Running
from support.allocator_server import running as running_allocator
from support.allocator_world import KEYS, REGIONS, state_of
from support.standin import Process, own_address

CALL_S = 120.0
"""For a whole call under test, with the start of a browser on a busy machine."""
MEDIA_PORT, SIGNALLING_PORT, RELAY_PORT = 3479, 8082, 3478
RELAY_TCP_PORT, METRICS_PORT = 3480, 9000
WIRE_IDS = {"eu": 7, "us": 300}
MEDIA: list[dict[str, Any]] = [
    {"id": "eu", "wire_id": 7, "latitude": 50.0, "longitude": 8.0},
    {"id": "us", "wire_id": 300, "latitude": 39.0, "longitude": -77.0},
]


@dataclass
class Transceiver:
    """One transceiver process, on a loopback address of its own."""

    region: str
    wire_id: int
    address: str
    process: Process

    @property
    def media(self) -> tuple[str, int]:
        return self.address, MEDIA_PORT

    def planned(self) -> dict[str, Any]:
        """Its entry in a plan."""
        return {
            "id": f"{self.region}-{self.wire_id}",
            "region": self.region,
            "wire_id": self.wire_id,
            "host": self.address,
            "port": MEDIA_PORT,
            "signalling_ipv4": self.address,
            "signalling_port": SIGNALLING_PORT,
        }

    async def counts(self) -> dict[str, float]:
        """Its metrics by name and labels, without the prefix."""
        url = f"http://{self.address}:{SIGNALLING_PORT}/metrics"
        return await _counts(url, "firsthop_transceiver_")


@dataclass
class RelayProcess:
    """One relay process."""

    address: str
    process: Process

    async def counts(self) -> dict[str, float]:
        """Its metrics by name and labels, without the prefix."""
        return await _counts(f"http://{self.address}:{METRICS_PORT}/metrics", "firsthop_relay_")


async def _counts(url: str, prefix: str) -> dict[str, float]:
    async with ClientSession() as session, session.get(url) as response:
        text = await response.text()
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name.removeprefix(prefix): float(value) for name, value in lines}


@asynccontextmanager
async def transceiver(
    folder: Path, region: str = "eu", wire_id: int = 1, *arguments: str, address: str = ""
) -> AsyncIterator[Transceiver]:
    """`firsthop transceiver` of a region of the world."""
    keys = folder / f"{region}.keys"
    keys.write_text(RegionKeys.of(KEYS, WIRE_IDS[region]).to_json())
    keys.chmod(0o600)
    address = address or own_address()
    async with standin.running(
        "transceiver",
        *("--listen", f"{address}:{MEDIA_PORT}", "--signalling", f"{address}:{SIGNALLING_PORT}"),
        *("--region-keys", str(keys), "--wire-id", str(wire_id), *arguments),
    ) as process:
        await process.said("signalling.listening")
        yield Transceiver(region, wire_id, address, process)


@asynccontextmanager
async def relay(
    folder: Path,
    ends: Sequence[Transceiver],
    *arguments: str,
    address: str = "",
) -> AsyncIterator[RelayProcess]:
    """`firsthop relay` before these transceivers."""
    keys, routes = folder / "route.keys", folder / "routes.yaml"
    keys.write_text(KEYS.routes.to_json())
    keys.chmod(0o600)
    by_region: dict[str, list[Transceiver]] = {}
    for end in ends:
        by_region.setdefault(end.region, []).append(end)
    table = [
        {
            "region": WIRE_IDS[region],
            "upstreams": [
                {"host": end.address, "port": MEDIA_PORT, "wire_id": end.wire_id} for end in here
            ],
        }
        for region, here in by_region.items()
    ]
    routes.write_text(json.dumps({"routes": table}))
    address = address or own_address()
    async with standin.running(
        "relay",
        *("--listen", f"{address}:{RELAY_PORT}", "--listen-tcp", f"{address}:{RELAY_TCP_PORT}"),
        *("--route-keys", str(keys), "--routes", str(routes)),
        *("--metrics", f"{address}:{METRICS_PORT}", *arguments),
    ) as process:
        await process.said("relay.listening")
        yield RelayProcess(address, process)


class Forwarder:
    """Stands in for a relay: one upstream socket for each client address, in this process.

    Or for a NAT before a relay: then every packet opens a way out, and `rebind` changes it.
    """

    def __init__(self, upstream: tuple[str, int], address: str = "", *, nat: bool = False) -> None:
        self.address = address or own_address()
        self._nat = nat
        self.packets = {"in": 0, "out": 0}
        self.dead = False
        """Whether it drops everything."""
        self.clients: set[str] = set()
        self.ufrags: set[str] = set()
        """Those of the checks that came in."""
        self._news = asyncio.Event()
        self._upstream = upstream
        self._front = _bound(self.address, RELAY_PORT)
        self._flows: dict[tuple[str, int], socket.socket] = {}

    async def __aenter__(self) -> Forwarder:
        asyncio.get_running_loop().add_reader(self._front, self._forward)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.forget()
        asyncio.get_running_loop().remove_reader(self._front)
        self._front.close()

    async def checked(self, ufrag: str) -> None:
        """Until a check for this ufrag has come."""
        async with asyncio.timeout(standin.DEADLINE_S):
            while ufrag not in self.ufrags:
                self._news.clear()
                await self._news.wait()

    def forget(self) -> None:
        """Lose every flow, as a relay without a journal does when it restarts."""
        for flow in self._flows.values():
            asyncio.get_running_loop().remove_reader(flow)
            flow.close()
        self._flows.clear()

    def rebind(self) -> None:
        """Another source port for every client, as a NAT that has lost its table gives."""
        clients = list(self._flows)
        self.forget()
        for client in clients:
            self._open(client)

    def _forward(self) -> None:
        packet, client = self._front.recvfrom(2048)
        if self.dead:
            return
        self.clients.add(client[0])
        username = peek_username(packet)
        if username is not None:
            self.ufrags.add(split_username(username)[0].decode())
            self._news.set()
        flow = self._flows.get(client)
        if flow is None:
            if packet[0] > 3 and not self._nat:  # as a relay: only a check opens a flow
                return
            flow = self._open(client)
        self.packets["in"] += 1
        flow.send(packet)

    def _open(self, client: tuple[str, int]) -> socket.socket:
        flow = self._flows[client] = _bound(self.address, 0)
        flow.connect(self._upstream)
        asyncio.get_running_loop().add_reader(flow, self._return, flow, client)
        return flow

    def _return(self, flow: socket.socket, client: tuple[str, int]) -> None:
        packet = flow.recv(2048)
        if not self.dead:
            self.packets["out"] += 1
            self._front.sendto(packet, client)


def _bound(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((host, port))
    return sock


@dataclass
class CallSetup:
    """An allocator over transceivers; relays are what the test says."""

    allocator: Running
    transceivers: list[Transceiver]
    relays: list[tuple[str, int]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.allocator.url}/v1/sessions"

    def plan(self, at: Sequence[tuple[str, int]], **document: Any) -> None:
        """Put a plan in force: relays at these addresses, in Frankfurt, and all transceivers."""
        self.relays = list(at)
        self.allocator.holder.state = state_of(
            regions=[REGIONS[0]],
            **{
                "relays": [
                    {"id": f"fra-{n}", "region": "fra", "ipv4": host, "udp_port": port}
                    for n, (host, port) in enumerate(at, start=1)
                ],
                "transceiver_regions": MEDIA,
                "transceivers": [each.planned() for each in self.transceivers],
                **document,
            },
        )


@asynccontextmanager
async def world(
    folder: Path,
    *,
    through: bool = False,
    settings: AllocatorSettings = SETTINGS,
    regions: Sequence[str] = ("eu",),
    within: float = CALL_S,
    host: str = "127.0.0.1",
) -> AsyncIterator[tuple[CallSetup, Forwarder | None]]:
    """One transceiver a region, and an allocator whose one relay is a forwarder to the first, or,
    without, the first itself. `host` is where the allocator is, and the only transceiver where
    that is no loopback address."""
    async with AsyncExitStack() as stack:
        ends = [
            await stack.enter_async_context(
                transceiver(folder, region, n, address="" if host == "127.0.0.1" else host)
            )
            for n, region in enumerate(regions, start=1)
        ]
        allocator = await stack.enter_async_context(
            running_allocator(settings, within=within, listen=(host, 0))
        )
        made = CallSetup(allocator, ends)
        forwarder = None
        if through:
            forwarder = await stack.enter_async_context(Forwarder(ends[0].media))
        made.plan([(forwarder.address, RELAY_PORT) if forwarder else ends[0].media])
        yield made, forwarder
