"""`firsthop up`: brings up a whole deployment on this machine, and takes it down again.

What is there already starts at once: on a later start the edge answers from its disk while the
control plane is still coming up.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import signal
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from importlib.util import find_spec
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import aiohttp

from firsthop.addresses import format_listen
from firsthop.controlplane.machine_tokens import MachineTokens
from firsthop.edge.workers.sockets import check_free
from firsthop.postgres.server import EmbeddedPostgres, PostgresError
from firsthop.secret_files import write_secret
from firsthop.up.banner import banner
from firsthop.up.children import Child
from firsthop.up.demo import SERVICE, demo_document
from firsthop.up.settings import UpSettings
from firsthop.up.stage import Stage
from firsthop_dns.wire.edns import SERVFAIL
from firsthop_steering.plan.document import Document

RELAY_RESTART_S = 20.0
"""Long enough to watch the answers move away from a killed relay, and back."""
VANTAGES = ("vantage-a", "vantage-b", "vantage-c")
START_DEADLINE_S = 60.0
AGENT_PORT = 9154
"""TCP port at a demo relay's own address where its agent reads its counters."""
LOOPBACK = IPv4Network("127.0.0.0/8")


class UpError(Exception):
    """Why it could not come up; the message is for the person at the terminal."""


class Up:
    """One run of the whole deployment."""

    def __init__(self, settings: UpSettings, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._say = say
        self._state = settings.state_dir
        try:
            self._tokens = MachineTokens(self._state / "machine.tokens")
        except ValueError as error:
            raise UpError(str(error)) from None
        self._children: list[Child] = []
        self._stage = Stage(self._state, self._relay)
        self._postgres: EmbeddedPostgres | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._api = f"http://{format_listen(*settings.controlplane)}"

    async def run(self) -> None:
        """Until SIGINT or SIGTERM. Raises UpError, PortInUseError, or what PostgreSQL raises."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        self._check_ports()
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(_locked(self._state / "up.lock"))
            stack.push_async_callback(self._stop_database)
            stack.push_async_callback(self._stop_children)
            stack.push_async_callback(self._stage.stop)
            starting = asyncio.create_task(self._start())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                await starting
                await stop.wait()
            starting.cancel()
            stopping.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)
            self._say("stopping")

    def _check_ports(self) -> None:
        settings = self._settings
        check_free([settings.dns], (socket.SOCK_DGRAM, socket.SOCK_STREAM))
        check_free(
            [settings.controlplane, settings.allocator, settings.metrics], (socket.SOCK_STREAM,)
        )

    async def _start(self) -> None:
        settings = self._settings
        (self._state / "logs").mkdir(parents=True, exist_ok=True)
        self._tokens.add(
            [
                ("edge", "edge", None),
                ("signalling", "allocator", None),
                *((vantage, "prober", None) for vantage in VANTAGES),
            ]
        )
        await self._stage.start()
        edge_early = (self._state / "snapshot.pub").exists()
        if edge_early:
            await self._start_edge()
        url = settings.database_url
        if url is None:
            self._postgres = EmbeddedPostgres(self._state)
            await self._postgres.start()
            self._keeping = asyncio.create_task(self._keep_database(self._postgres))
            url = self._postgres.url
        await self._start_control_plane(url)
        document = await self._seeded_document()
        self._tokens.add((f"agent-{each.id}", "agent", each.id) for each in document.relays)
        if not edge_early:
            await self._start_edge()
        await self._until("the edge answers DNS", self._dns_answers)
        await self._start_field(document)
        write_secret(self._state / "allocator.token", self._tokens["signalling"] + "\n")
        self._say(banner(settings, self._tokens["signalling"] if _has_transceivers() else None))

    async def _keep_database(self, postgres: EmbeddedPostgres) -> None:
        """Starts the server again when it dies."""
        while True:
            await postgres.died()
            self._say("PostgreSQL ended; starting it again")
            while True:
                await postgres.stop()
                try:
                    await postgres.start()
                except (PostgresError, OSError) as error:
                    self._say(f"PostgreSQL cannot be started: {error}")
                    await asyncio.sleep(5.0)
                else:
                    break

    async def _stop_database(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._postgres is not None:
            await self._postgres.stop()

    async def _start_control_plane(self, database_url: str) -> None:
        child = self._child(
            "controlplane",
            ["controlplane", "--bootstrap-tokens", str(self._tokens.path)],
            {
                "FIRSTHOP_DATABASE_URL": database_url,
                "FIRSTHOP_CONTROLPLANE_LISTEN": format_listen(*self._settings.controlplane),
                "FIRSTHOP_STATE_DIR": str(self._state),
            },
        )
        await child.start()
        await self._until("the control plane is ready", self._control_plane_ready, child)

    async def _start_edge(self) -> None:
        settings = self._settings
        environment = {
            "FIRSTHOP_API_URL": self._api,
            "FIRSTHOP_TOKEN": self._tokens["edge"],
            "FIRSTHOP_SNAPSHOT_KEY": str(self._state / "snapshot.pub"),
            "FIRSTHOP_STATE_DIR": str(self._state / "edge"),
            "FIRSTHOP_DNS_LISTEN": format_listen(*settings.dns),
            "FIRSTHOP_DNS_WORKERS": str(settings.dns_workers),
            "FIRSTHOP_ALLOCATOR_LISTEN": format_listen(*settings.allocator),
            "FIRSTHOP_ALLOCATOR_DEMO": "1",
            "FIRSTHOP_ALLOCATOR_DEMO_STAGE": str(self._stage.path.resolve()),
            "FIRSTHOP_METRICS_LISTEN": format_listen(*settings.metrics),
        }
        if settings.geoip_city:
            environment["FIRSTHOP_GEOIP_CITY"] = str(settings.geoip_city)
        if settings.geoip_asn:
            environment["FIRSTHOP_GEOIP_ASN"] = str(settings.geoip_asn)
        await self._child("edge", ["edge"], environment).start()

    async def _start_field(self, document: Document) -> None:
        """Relays and their agents, and the probers."""
        local = [each for each in document.relays if each.ipv4 and each.ipv4 in LOOPBACK]
        routes = self._state / "routes.json"
        await self._until("the relays' routes are published", _exists(routes))
        for relay in local:
            await self._child(
                f"relay-{relay.id}",
                ["relay", "--listen", format_listen(str(relay.ipv4), relay.udp_port)],
                {
                    "FIRSTHOP_ROUTE_KEYS": str(self._state / "route.keys"),
                    "FIRSTHOP_ROUTES": str(routes),
                    "FIRSTHOP_RELAY_STATE_DIR": str(self._state / f"relay-{relay.id}"),
                    "FIRSTHOP_RELAY_METRICS": format_listen(str(relay.ipv4), AGENT_PORT),
                },
                restart_after_s=RELAY_RESTART_S,
            ).start()
        if _has_transceivers():
            await self._start_transceivers(document)
        for vantage in VANTAGES:
            environment = {
                "FIRSTHOP_API_URL": self._api,
                "FIRSTHOP_TOKEN": self._tokens[vantage],
                "FIRSTHOP_PROBER_ID": vantage,
                "FIRSTHOP_VANTAGE": vantage,
                "FIRSTHOP_STATE_DIR": str(self._state / vantage),
            }
            await self._child(f"prober-{vantage}", ["prober"], environment).start()
        for relay in local:
            environment = {
                "FIRSTHOP_API_URL": self._api,
                "FIRSTHOP_TOKEN": self._tokens[f"agent-{relay.id}"],
                "FIRSTHOP_RELAY_ID": relay.id,
                "FIRSTHOP_RELAY_METRICS_URL": f"http://{relay.ipv4}:{AGENT_PORT}/metrics",
            }
            await self._child(f"agent-{relay.id}", ["agent"], environment).start()

    async def _start_transceivers(self, document: Document) -> None:
        for each in document.transceivers:
            door = each.signalling_ipv4
            if each.host not in LOOPBACK or door is None or door not in LOOPBACK:
                continue
            keys = self._state / "regions" / f"{each.region}.keys"
            await self._until(f"the keys of {each.region} are published", _exists(keys))
            await self._child(
                f"transceiver-{each.id}",
                ["transceiver", "--listen", format_listen(str(each.host), each.port)],
                {
                    "FIRSTHOP_TRANSCEIVER_SIGNALLING": format_listen(
                        str(door), each.signalling_port or 0
                    ),
                    "FIRSTHOP_TRANSCEIVER_WIRE_ID": str(each.wire_id),
                    "FIRSTHOP_REGION_KEYS": str(keys),
                },
            ).start()

    def _child(
        self,
        name: str,
        arguments: list[str],
        environment: dict[str, str],
        restart_after_s: float = 0.0,
    ) -> Child:
        child = Child(
            name,
            arguments,
            log_dir=self._state / "logs",
            environment=environment,
            restart_after_s=restart_after_s,
            say=self._say,
        )
        self._children.append(child)
        return child

    def _relay(self, relay: str) -> Child | None:
        name = f"relay-{relay}"
        return next((each for each in self._children if each.name == name), None)

    async def _stop_children(self) -> None:
        await asyncio.gather(*(child.stop() for child in self._children))

    async def _until(
        self, what: str, condition: Callable[[], Any], child: Child | None = None
    ) -> None:
        """Waits for a condition; a child that only dies is why it never holds."""
        deadline = asyncio.get_running_loop().time() + START_DEADLINE_S
        while not await condition():
            if child is not None and child.exits >= 3:
                raise UpError(f"{child.name} does not stay up:\n{child.log_tail()}")
            if asyncio.get_running_loop().time() > deadline:
                logs = self._state / "logs"
                raise UpError(f"waited {START_DEADLINE_S:.0f} s until {what}; see {logs}")
            await asyncio.sleep(0.05)

    async def _control_plane_ready(self) -> bool:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with aiohttp.ClientSession() as session, session.get(f"{self._api}/readyz") as r:
                return r.status == 200
        return False

    async def _seeded_document(self) -> Document:
        """The stored document; the demo's, if nothing was stored yet."""
        token = (self._state / "admin.token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            document = await self._document(session)
            async with session.get(f"{self._api}/v1/revisions", params={"limit": "1"}) as response:
                response.raise_for_status()
                if (await response.json())["items"]:
                    return document
            demo = demo_document(self._settings.relay_network, self._settings.transceiver_network)
            body = {"document": demo.model_dump(mode="json"), "message": "The demo of firsthop up"}
            async with session.post(f"{self._api}/v1/changesets", json=body) as response:
                if response.status >= 400:
                    raise UpError(f"the demo was refused: {await response.text()}")
            return await self._document(session)

    async def _document(self, session: aiohttp.ClientSession) -> Document:
        """The stored one, in which every wire id is assigned."""
        async with session.get(f"{self._api}/v1/document") as response:
            response.raise_for_status()
            return Document.model_validate_json(await response.read())

    async def _dns_answers(self) -> bool:
        return await asyncio.to_thread(_answers, self._settings.dns)


def _has_transceivers() -> bool:
    """Whether the extra `transceiver` is installed."""
    return find_spec("aiortc") is not None


def _exists(path: Path) -> Callable[[], Awaitable[bool]]:
    async def there() -> bool:
        return await asyncio.to_thread(path.exists)

    return there


def _answers(dns: tuple[str, int]) -> bool:
    """Whether a query for the demo service gets an answer other than SERVFAIL: a table is there."""
    labels = b"".join(bytes([len(x)]) + x.encode() for x in SERVICE.rstrip(".").split("."))
    query = struct.pack(">6H", 1, 0, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)
    family = socket.AF_INET6 if ":" in dns[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        try:
            client.connect(dns)
            client.send(query)
            answer = client.recv(512)
        except OSError:
            return False
    return len(answer) >= 12 and answer[3] & 0xF != SERVFAIL


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the state folder; raises UpError when another run does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UpError(f"another firsthop up uses the state folder {path.parent}") from None
        yield
