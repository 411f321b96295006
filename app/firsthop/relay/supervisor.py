"""The supervisor of one relay: its files, its workers, its metrics, its take-over."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from firsthop.process.takeover import READY_WITHIN_S, StateClaim, TakeOverError, claim
from firsthop.relay.prebind import Prebound
from firsthop.relay.settings import RelaySettings
from firsthop.relay.sockets import RelaySockets
from firsthop.relay.worker_pool import (
    HAND_OVER_WITHIN_S,
    RelayWorkerPool,
    SingleWorker,
    WorkerProcesses,
)
from firsthop_relay import log
from firsthop_relay.flows.route_text import write_routes
from firsthop_relay.process.reloading_file import FileError, KeyFile, RouteFile

if TYPE_CHECKING:
    from aiohttp.web import AppRunner

FILE_CHECK_S = 1.0


async def serve(settings: RelaySettings, prebound: Prebound) -> None:
    """Run until cancelled, or until a successor has taken over; `prebound` are its first sockets.

    Raises ListenError, FileError, TakeOverError if it cannot start.
    """
    async with contextlib.AsyncExitStack() as stack:
        claimed = None
        if settings.state_dir is not None:
            settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            claimed = await claim(settings.state_dir, take_over=settings.take_over, program="relay")
            stack.callback(claimed.close)
        sockets = RelaySockets(claimed.inherited if claimed else (), prebound)
        stack.callback(sockets.close)
        await _Relay(settings, sockets, claimed).run()


class _Relay:
    def __init__(
        self, settings: RelaySettings, sockets: RelaySockets, claimed: StateClaim | None
    ) -> None:
        self._keys = KeyFile(settings.route_keys)
        self._routes = RouteFile(settings.routes) if settings.routes else None
        # Before any address is bound, so that bad files are the only reported reason.
        first = self._load_keys() | self._load_routes()
        sockets.bind(settings)
        self._sockets = sockets
        self._claim = claimed
        many = settings.workers > 1
        self._workers: RelayWorkerPool = (
            WorkerProcesses(settings, sockets) if many else SingleWorker(settings, sockets)
        )
        self._workers.send(first | {"flow_store": settings.flow_store})

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        running = asyncio.create_task(self._workers.run())
        runner = None
        # Before the relay is announced as running, as each of these signals would end the process.
        loop.add_signal_handler(signal.SIGHUP, self._reload, True)
        for number, draining in ((signal.SIGUSR1, True), (signal.SIGUSR2, False)):
            loop.add_signal_handler(number, self._drain, draining)
        try:
            await self._take_over()
            self._workers.send({"serve": True})
            await self._workers.serving()
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
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _serve_metrics(self, sock: socket.socket) -> AppRunner:
        """Import the libraries in a thread, since the event loop must forward meanwhile."""
        await asyncio.to_thread(import_module, "firsthop_relay.process.metrics")
        from firsthop_relay.process.metrics import serve_metrics

        return await serve_metrics(self._workers.reading, self._workers.round_trips, sock)

    async def _take_over(self) -> None:
        """Stop a predecessor once the workers are ready; meanwhile packets wait in the sockets."""
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                await self._workers.ready()
        except TimeoutError:
            raise TakeOverError(f"workers not ready within {READY_WITHIN_S:.0f} s") from None
        if self._claim is not None and self._claim.predecessor is not None:
            await self._claim.take()
            log.info("relay.taken_over")

    async def _until_handed_over(self) -> None:
        watching = asyncio.create_task(self._watch())
        try:
            if self._claim is None:
                await watching
            else:
                await self._claim.give(self._sockets.files())
                async with asyncio.timeout(HAND_OVER_WITHIN_S):
                    await self._workers.hand_over()
                log.info("relay.handed_over")
        except TimeoutError:
            log.error("flows.handover_failed", reason="the workers do not respond")
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(FILE_CHECK_S)
            self._reload(False)

    def _reload(self, asked: bool) -> None:
        """Read the changed files again, or all files if asked to."""
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
            self._workers.send(news)
            log.info(f"{what}.loaded")

    def _load_keys(self) -> dict[str, Any]:
        return {"route_keys": self._keys.load().to_json()}

    def _load_routes(self) -> dict[str, Any]:
        return {"routes": write_routes(self._routes.load())} if self._routes else {}

    def _drain(self, draining: bool) -> None:
        self._workers.send({"draining": draining})
        log.info("relay.draining" if draining else "relay.opened")
