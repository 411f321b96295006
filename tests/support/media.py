"""The two ends of a call through a relay: a client's socket, and a far end that echoes."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from aiohttp import ClientSession

from firsthop_ice.path_probe import path_probe_request
from firsthop_ice.stun import USERNAME, StunError, StunMessageType, binding_success, build, parse
from firsthop_ice.ufrag import (
    Credential,
    CredentialKeys,
    mint,
    password_for,
    region_password_key,
)
from firsthop_relay.io.framing import Unframer, frame
from firsthop_steering.feed.snapshot import KeySet
from support.waiting import DEADLINE_S

REGION = 7
LOST_S = 0.3
"""After so long a datagram on loopback is taken to be dropped."""
RTP = b"\x80\x6f" + bytes(158)


def credential(keys: KeySet, *, transceiver: int = 1, lifetime: float = 3600) -> Credential:
    """A fresh one for REGION."""
    return mint(
        CredentialKeys.from_keyset(keys),
        region=REGION,
        transceiver=transceiver,
        expires_at=datetime.now(UTC) + timedelta(seconds=lifetime),
        entropy=secrets.token_bytes(7),
    )


def write_routes(path: Path, *far_ends: FarEnd) -> Path:
    """A route file of REGION with transceivers 1, 2 … at these far ends."""
    upstreams = [
        {"host": each.address[0], "port": each.address[1], "wire_id": number}
        for number, each in enumerate(far_ends, start=1)
    ]
    routes = [{"region": REGION, "upstreams": upstreams}] if upstreams else []
    fresh = path.with_suffix(".new")
    fresh.write_text(yaml.safe_dump({"routes": routes}))
    return fresh.replace(path)


class FarEnd(asyncio.DatagramProtocol):
    """Answers checks by the region's password key alone, and echoes all else."""

    def __init__(self, keys: KeySet) -> None:
        master = bytes.fromhex(keys.keys[0].password)
        self._password_key = region_password_key(master, REGION)
        self._transport: Any = None
        self.sources: Counter[tuple[Any, ...]] = Counter()
        """Who has sent so many packets."""

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._transport.get_extra_info("sockname")[:2]
        return host, port

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self.sources[addr] += 1
        self._transport.sendto(self._answer(data, addr) or data, addr)

    def _answer(self, data: bytes, addr: tuple[Any, ...]) -> bytes | None:
        try:
            request = parse(data)
        except StunError:
            return None
        ufrag = (request.get(USERNAME) or b"").partition(b":")[0]
        password = password_for(ufrag, self._password_key)
        if request.kind != StunMessageType.REQUEST or not request.authentic(password):
            return None
        return binding_success(request.transaction_id, addr[:2], password)

    def close(self) -> None:
        self._transport.close()


@asynccontextmanager
async def far_end(keys: KeySet, host: str = "127.0.0.1") -> AsyncIterator[FarEnd]:
    """One that listens at a free port of `host`."""
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_datagram_endpoint(lambda: FarEnd(keys), local_addr=(host, 0))
    try:
        yield protocol
    finally:
        protocol.close()


class Client:
    """One socket of a client, connected to its relay."""

    def __init__(self, relay: tuple[str, int], source: tuple[str, int] | None = None) -> None:
        family = socket.AF_INET6 if ":" in relay[0] else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        if source is not None:
            self.sock.bind(source)
        self.sock.setblocking(False)
        self.sock.connect(relay)

    async def ask(self, packet: bytes, within: float = LOST_S) -> bytes | None:
        """What comes back for `packet`, if anything does; for media no late answer to a check."""
        await asyncio.get_running_loop().sock_sendall(self.sock, packet)
        answer = await self.hear(within)
        while answer is not None and is_stun(answer) and not is_stun(packet):
            answer = await self.hear(within)
        return answer

    async def hear(self, within: float = LOST_S) -> bytes | None:
        """The next packet."""
        try:
            async with asyncio.timeout(within):
                return await asyncio.get_running_loop().sock_recv(self.sock, 65535)
        except (TimeoutError, ConnectionRefusedError):
            return None

    async def check(self, of: Credential, within: float = LOST_S, *, probes: bool = False) -> bool:
        """Whether a check was answered by who can derive its password.

        One that probes is answered without a session, too.
        """
        username = of.ufrag.encode() + b":peer"
        probe = path_probe_request(secrets.token_bytes(12), username, of.password)
        packet = probe if probes else check(of)
        answer = await self.ask(packet, within)
        while answer is not None:
            message = parse(answer)
            assert message.kind == StunMessageType.SUCCESS
            if message.transaction_id == packet[8:20]:
                return message.authentic(of.password)
            answer = await self.hear(within)  # that was to an earlier one, and late
        return False

    async def connect(self, of: Credential) -> None:
        """Check, as agents do, until one is answered."""
        async with asyncio.timeout(DEADLINE_S):
            while not await self.check(of):
                pass

    async def echo(self, packet: bytes = RTP, within: float = DEADLINE_S) -> bool:
        """Whether the far end gave `packet` back."""
        return await self.ask(packet, within) == packet

    def close(self) -> None:
        self.sock.close()


class TcpClient:
    """An ICE-TCP client (RFC 6544)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self._unframer = Unframer(trusted=True)
        self._packets: list[bytes] = []

    @classmethod
    async def connect(cls, relay: tuple[str, int]) -> TcpClient:
        return cls(*await asyncio.open_connection(*relay))

    async def hear(self) -> bytes | None:
        """The next packet; None when the relay has closed the connection."""
        async with asyncio.timeout(DEADLINE_S):
            while not self._packets:
                data = await self._reader.read(65536)
                if not data:
                    return None
                self._packets += self._unframer.feed(data)
        return self._packets.pop(0)

    async def ask(self, *packets: bytes) -> bytes | None:
        """The first answer to `packets`, which go as one segment."""
        self.writer.write(b"".join(map(frame, packets)))
        return await self.hear()

    def close(self) -> None:
        self.writer.close()


def is_stun(packet: bytes) -> bool:
    """By its first octet (RFC 7983)."""
    return packet[0] < 4


def check(of: Credential) -> bytes:
    """A Binding request as an ICE agent sends it."""
    username = of.ufrag.encode() + b":peer"
    nominate = [(0x0024, bytes(4)), (0x0025, b"")]  # PRIORITY, USE-CANDIDATE
    return build(
        StunMessageType.REQUEST, secrets.token_bytes(12), [(USERNAME, username), *nominate],
        password=of.password,
    )  # fmt: skip


async def counters(address: tuple[str, int]) -> dict[str, float]:
    """A relay's metrics, each with its labels."""
    url = f"http://{address[0]}:{address[1]}/metrics"
    async with ClientSession() as session, session.get(url) as response:
        text = await response.text()
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name.removeprefix("firsthop_relay_"): float(value) for name, value in lines}


def adds_up(counted: dict[str, float]) -> bool:
    """Whether every packet that came in is accounted for."""
    out = sum(
        value
        for name, value in counted.items()
        if name.startswith(("packets_forwarded", "packets_answered", "packets_dropped"))
    )
    return counted["packets_received_total"] == out
