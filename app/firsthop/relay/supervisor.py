"""One relay: its files, its workers, its metrics, and who takes its place."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from firsthop.process.takeover import READY_WITHIN_S, StateClaim, TakeOverError, claim
from firsthop.relay.prebind import Early
from firsthop.relay.settings import RelaySettings
from firsthop.relay.sockets import RelaySockets
from firsthop.relay.worker_pool import HAND_OVER_WITHIN_S, Alone, Processes, RelayWorkerPool
from firsthop_relay import log
from firsthop_relay.flows.route_text import write_routes
from firsthop_relay.process.reloading_file import FileError, KeyFile, RouteFile

if TYPE_CHECKING:
    from aiohttp.web import AppRunner

FILE_CHECK_S = 1.0


async def serve(settings: RelaySettings, early: Early) -> None:
    """Run until cancelled, or until a successor has taken over; `early` sockets are bound already.

    Raises ListenError, FileError, TakeOverError when it cannot start.
    """
    async with contextlib.AsyncExitStack() as stack:
        place = None
        if settings.state_dir is not None:
            settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            place = await claim(settings.state_dir, take_over=settings.take_over, role="relay")
            stack.callback(place.close)
        sockets = RelaySockets(place.inherited if place else (), early)
        stack.callback(sockets.close)
        await _Relay(settings, sockets, place).run()


class _Relay:
    def __init__(
        self, settings: RelaySettings, sockets: RelaySockets, place: StateClaim | None
    ) -> None:
        self._keys = KeyFile(settings.route_keys)
        self._routes = RouteFile(settings.routes) if settings.routes else None
        # Before anything is bound: a relay that cannot read its files says only that.
        first = self._load_keys() | self._load_routes()
        sockets.bind(settings)
        self._sockets = sockets
        self._place = place
        many = settings.workers > 1
        self._crew: RelayWorkerPool = (
            Processes(settings, sockets) if many else Alone(settings, sockets)
        )
        self._crew.tell(first | {"flow_store": settings.flow_store})

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        crew = asyncio.create_task(self._crew.run())
        runner = None
        # Before anybody is told that it runs: unhandled, each of them would end the process.
        loop.add_signal_handler(signal.SIGHUP, self._reload, True)
        for number, draining in ((signal.SIGUSR1, True), (signal.SIGUSR2, False)):
            loop.add_signal_handler(number, self._drain, draining)
        try:
            await self._take_over()
            self._crew.tell({"serve": True})
            await self._crew.serving()
            await log.ready()
            for transport, host, port in self._sockets.bound():
                log.info("relay.listening", transport=transport, host=host, port=port)
            if self._sockets.metrics is not None:
                runner = await self._serve_metrics(self._sockets.metrics.dup())
            await self._until_handed_over()
        finally:
            for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
                loop.remove_signal_handler(number)
            if runner is not None:
                await runner.cleanup()
            crew.cancel()
            await asyncio.gather(crew, return_exceptions=True)

    async def _serve_metrics(self, sock: socket.socket) -> AppRunner:
        """Its libraries are imported beside the loop, which forwards meanwhile."""
        await asyncio.to_thread(import_module, "firsthop_relay.process.metrics")
        from firsthop_relay.process.metrics import serve_metrics

        return await serve_metrics(self._crew.reading, self._crew.round_trips, sock)

    async def _take_over(self) -> None:
        """Tell a predecessor to stop, once the workers are there; its packets wait for them."""
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                await self._crew.ready()
        except TimeoutError:
            raise TakeOverError(f"workers not ready within {READY_WITHIN_S:.0f} s") from None
        if self._place is not None and self._place.predecessor is not None:
            await self._place.take()
            log.info("relay.taken_over")

    async def _until_handed_over(self) -> None:
        watching = asyncio.create_task(self._watch())
        try:
            if self._place is None:
                await watching
            else:
                await self._place.give(self._sockets.files())
                async with asyncio.timeout(HAND_OVER_WITHIN_S):
                    await self._crew.hand_over()
                log.info("relay.handed_over")
        except TimeoutError:
            log.error("flows.handover_failed", reason="the workers do not answer")
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(FILE_CHECK_S)
            self._reload(False)

    def _reload(self, asked: bool) -> None:
        """Read again what has changed, or all that is there when asked to."""
        if asked or self._keys.changed():
            self._tell(self._load_keys, "route_keys")
        if self._routes is not None and (asked or self._routes.changed()):
            self._tell(self._load_routes, "routes")

    def _tell(self, load: Callable[[], dict[str, Any]], what: str) -> None:
        try:
            news = load()
        except FileError as error:
            log.error(f"{what}.refused", reason=str(error))
        else:
            self._crew.tell(news)
            log.info(f"{what}.loaded")

    def _load_keys(self) -> dict[str, Any]:
        return {"route_keys": self._keys.load().to_json()}

    def _load_routes(self) -> dict[str, Any]:
        return {"routes": write_routes(self._routes.load())} if self._routes else {}

    def _drain(self, draining: bool) -> None:
        self._crew.tell({"draining": draining})
        log.info("relay.draining" if draining else "relay.opened")
