"""One worker process of a relay: commands from its supervisor, and the life of its server.

The worker does not read its sockets at first: packets wait in them until the worker has taken over
the flows of a predecessor and its supervisor commands it to serve.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from firsthop_ice.ufrag import RouteKeys
from firsthop_relay import log
from firsthop_relay.flows.flow_table import FlowTable
from firsthop_relay.flows.limits import Limits
from firsthop_relay.flows.readings import CounterReading
from firsthop_relay.flows.route_text import read_routes
from firsthop_relay.io.round_trips import RoundTripRow
from firsthop_relay.io.server import RelayServer
from firsthop_relay.io.upstreams import RESERVE, raise_file_limit
from firsthop_relay.survival import handover
from firsthop_relay.survival.journal import Journal, JournalError
from firsthop_relay.survival.restoring import restore
from firsthop_relay.survival.shared import SharedFlows, connect


class RelayWorker:
    """Create it inside a running loop; it owns the sockets that it is given.

    `predecessors` and `successor` are Unix sockets over which flows are taken over and handed over.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        *,
        limits: Limits,
        journal: Path | None = None,
        predecessors: Sequence[socket.socket] = (),
        successor: socket.socket | None = None,
    ) -> None:
        max_files = raise_file_limit() - RESERVE
        self.table = FlowTable(limits=limits)
        self.server = RelayServer(self.table, max_files=max_files)
        self._predecessors = predecessors
        self._successor = successor
        self._journal_path = journal
        self._journal: Journal | None = None
        self._flow_store = ""
        self._sharing: asyncio.Task[None] | None = None
        self._serving: asyncio.Task[None] | None = None
        for sock in sockets:
            self.server.listen(sock)

    def send(self, news: Mapping[str, Any]) -> None:
        """Apply the changes in `news`: `route_keys`, `routes` (texts), `draining`,
        `sessions_elsewhere`, `flow_store`, `serve`."""
        if "route_keys" in news:
            self.table.keys = RouteKeys.from_json(news["route_keys"])
        if "routes" in news:
            self.table.routes = read_routes(news["routes"])
        if "draining" in news:
            self.table.draining = news["draining"]
        if "sessions_elsewhere" in news:
            self.table.sessions_elsewhere = news["sessions_elsewhere"]
        if "flow_store" in news:
            self._flow_store = news["flow_store"]
        if "serve" in news and self._serving is None:
            self._serving = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        if self._predecessors:
            await log.ready()
        for channel in self._predecessors:
            batches = await asyncio.to_thread(handover.receive, channel)
            channel.close()
            try:
                flows = handover.adopt(self.server, batches)
            except (ValueError, LookupError, TypeError):  # from a release with another format
                log.exception("flows.inheritance_failed")
            else:
                log.info("flows.inherited", flows=flows)
        restored: int | JournalError | None = None
        if self._journal_path is not None:
            restored = await self._open_journal(self._journal_path)
        if self._flow_store:
            shared = SharedFlows(self.server, connect(self._flow_store))
            self.server.keepers.append(shared)
            self.server.ask = shared.ask
            self._sharing = asyncio.create_task(shared.run())
        self.server.start()
        await log.ready()
        if isinstance(restored, JournalError):
            log.error("journal.open_failed", reason=str(restored))
        elif restored is not None:
            log.info("flows.restored", flows=restored)

    async def _open_journal(self, path: Path) -> int | JournalError:
        """Restore flows, except those whose source has a flow already; returns how many go on."""
        try:
            journal = await asyncio.to_thread(Journal, path, self.table.limits.flows)
        except JournalError as error:  # the relay runs without it
            return error
        self._journal = journal
        return restore(self.server, journal)

    async def serving(self) -> None:
        """Wait until the worker forwards, if it was commanded to serve."""
        if self._serving is not None:
            await asyncio.shield(self._serving)

    async def hand_over(self) -> None:
        """Hand all flows over to the successor, and stop."""
        self.server.pause()
        if self._successor is not None:
            try:
                flows = await asyncio.to_thread(handover.give, self.server, self._successor)
                log.info("flows.handed_over", flows=flows)
            except OSError as error:
                log.error("flows.handover_failed", reason=str(error))
            self._successor.close()
        self.close()

    def reading(self) -> CounterReading:
        """All counters and gauges."""
        return self.server.reading()

    def round_trips(self, since: float) -> list[RoundTripRow]:
        """Round trips to TCP clients, noted after `since`, which is in seconds since 1970."""
        return self.server.round_trips.since(since)

    def close(self) -> None:
        """Stop, and close everything."""
        if self._serving is not None:
            self._serving.cancel()
        if self._sharing is not None:
            self._sharing.cancel()
        self.server.close()
        if self._journal is not None:
            self.server.keepers.clear()
            self._journal.close()
            self._journal = None
