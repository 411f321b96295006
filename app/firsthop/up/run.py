"""`firsthop up`: starts a whole deployment on this machine, and stops it again.

Parts that have state from an earlier run start at once: the edge answers from its disk while the
control plane is still starting.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import signal
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from firsthop.addresses import format_listen
from firsthop.controlplane.machine_tokens import MachineTokens
from firsthop.edge.workers.sockets import check_free
from firsthop.open_folders import make_passable
from firsthop.secret_files import write_secret
from firsthop.up.banner import banner
from firsthop.up.children import Child
from firsthop.up.database import EmbeddedDatabase
from firsthop.up.demo import demo_document
from firsthop.up.probing import (
    DemoRefusedError,
    dns_answers,
    is_ready,
    new_demo_token,
    seeded_document,
)
from firsthop.up.settings import UpSettings
from firsthop.up.specs import VANTAGES, ChildSpec, ChildSpecs
from firsthop.up.stage import Stage
from firsthop_steering.plan.document import Document

START_DEADLINE_S = 60.0


class UpError(Exception):
    """The reason why the deployment could not start, as a message for the terminal."""


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
        self._specs = ChildSpecs(settings, self._tokens)
        self._children: dict[str, Child] = {}
        self._stage = Stage(self._state, lambda relay: self._children.get(f"relay-{relay}"))
        self._database = EmbeddedDatabase(self._state, say)
        self._api = f"http://{format_listen(*settings.controlplane)}"

    async def run(self) -> None:
        """Run until SIGINT or SIGTERM. Raises UpError, PortInUseError, or PostgreSQL's errors."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        self._check_ports()
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(_locked(self._state / "up.lock"))
            stack.push_async_callback(self._database.stop)
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
                *((vantage, "prober", vantage) for vantage in VANTAGES),
            ]
        )
        await self._stage.start()
        edge = self._specs.edge(self._stage.path)
        edge_first = (self._state / "snapshot.pub").exists()
        if edge_first:
            await self._start_child(edge)
        url = settings.database_url or await self._database.start()
        child = await self._start_child(self._specs.control_plane(url))
        await self._until("the control plane is ready", lambda: is_ready(self._api), child)
        document = await self._document()
        self._tokens.add((f"agent-{each.id}", "agent", each.id) for each in document.relays)
        if not edge_first:
            await self._start_child(edge)
        await self._until(
            "the edge answers DNS", lambda: asyncio.to_thread(dns_answers, settings.dns)
        )
        await self._start_field(document)
        write_secret(self._state / "allocator.token", self._tokens["signalling"] + "\n")
        self._say(banner(settings, await self._demo_secret() if _has_transceivers() else None))

    async def _document(self) -> Document:
        """The stored document; the demo's if nothing was stored yet."""
        settings = self._settings
        demo = demo_document(settings.relay_network, settings.transceiver_network)
        token = (self._state / "admin.token").read_text().strip()
        try:
            return await seeded_document(self._api, token, demo)
        except DemoRefusedError as error:
            raise UpError(str(error)) from None

    async def _demo_secret(self) -> str:
        token = (self._state / "admin.token").read_text().strip()
        return await new_demo_token(self._api, token, datetime.now(UTC))

    async def _start_field(self, document: Document) -> None:
        """Start relays, transceivers, probers and agents."""
        await self._start_children(self._specs.relays(document))
        if _has_transceivers():
            await self._start_children(self._specs.transceivers(document))
        await self._start_children(self._specs.probers())
        await self._start_children(self._specs.agents(document))

    async def _start_children(self, specs: Iterable[ChildSpec]) -> None:
        for spec in specs:
            if spec.needs is not None:
                await self._until(f"{spec.needs} is published", _exists(spec.needs))
            await self._start_child(spec)

    async def _start_child(self, spec: ChildSpec) -> Child:
        child = Child(
            spec.name,
            spec.arguments,
            log_dir=self._state / "logs",
            environment=spec.environment,
            restart_after_s=spec.restart_after_s,
            say=self._say,
        )
        self._children[spec.name] = child
        await child.start()
        return child

    async def _stop_children(self) -> None:
        await asyncio.gather(*(child.stop() for child in self._children.values()))

    async def _until(
        self, what: str, condition: Callable[[], Awaitable[bool]], child: Child | None = None
    ) -> None:
        """Wait for a condition; fail early if `child`, on which it depends, dies repeatedly."""
        deadline = asyncio.get_running_loop().time() + START_DEADLINE_S
        while not await condition():
            if child is not None and child.exits >= 3:
                raise UpError(f"{child.name} does not stay up:\n{child.log_tail()}")
            if asyncio.get_running_loop().time() > deadline:
                logs = self._state / "logs"
                raise UpError(f"waited {START_DEADLINE_S:.0f} s until {what}; see {logs}")
            await asyncio.sleep(0.05)


def _has_transceivers() -> bool:
    """Whether the extra `transceiver` is installed."""
    return find_spec("aiortc") is not None


def _exists(path: Path) -> Callable[[], Awaitable[bool]]:
    return lambda: asyncio.to_thread(path.exists)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lock the state folder; raises UpError if another run has locked it."""
    make_passable(path.parent)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UpError(f"another firsthop up uses the state folder {path.parent}") from None
        yield
