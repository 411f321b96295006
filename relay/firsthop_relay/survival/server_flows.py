"""Converts a server's flows to records, and records to flows of a server."""

from __future__ import annotations

import time
from collections.abc import Callable

from firsthop_relay.flows.flow import ClientSockaddr, Flow, ListenerFlows
from firsthop_relay.io.server import RelayServer
from firsthop_relay.io.upstreams import local_port
from firsthop_relay.survival.flow_record import FlowRecord, ListenerAddress

Reply = Callable[[bytes, ClientSockaddr], object]


def boot_time() -> float:
    """Seconds since the machine was started, including the time that it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def record_of(flow: Flow, listener: ListenerAddress, *, now: float) -> FlowRecord:
    """The record of a flow whose client is active at `now`, in seconds of the record's clock."""
    opened_at = now - (time.monotonic() - flow.opened_at)
    return FlowRecord(
        listener, flow.source, flow.ufrag, flow.upstream, local_port(flow), opened_at, now
    )


class ServerFlows:
    """Flows of one server by listening address; create it once the server has its sockets."""

    def __init__(self, server: RelayServer) -> None:
        self._server = server
        self._udp = {
            ListenerAddress.of(sock): (listener, sock) for sock, listener in server.udp.items()
        }
        self._tcp = {ListenerAddress.of(each.sock): each for each in server.tcp}
        self.udp = {listener: address for address, (listener, _) in self._udp.items()}
        self._addresses = self.udp | {
            each.listener_flows: address for address, each in self._tcp.items()
        }

    def record(self, flow: Flow, *, now: float) -> FlowRecord:
        """The record of a flow of this server; see `record_of`."""
        return record_of(flow, self._addresses[flow.listener], now=now)

    def resume(self, record: FlowRecord, *, now: float, attach: Callable[[Flow], bool]) -> bool:
        """Continue a flow; `attach` gives it an upstream socket, and returns whether it could.

        Returns False if its listener, TCP connection, route or socket no longer exists, or if a
        limit of the table forbids it.
        """
        found = self._listener(record)
        if found is None:
            return False
        listener, reply = found
        age_s = max(0.0, now - record.opened_at)
        flow = self._server.restore(
            listener, record.source, record.ufrag, record.upstream, age_s=age_s, reply=reply
        )
        if flow is None:
            return False
        if not attach(flow):
            self._server.end(flow, "socket")
            return False
        return True

    def _listener(self, record: FlowRecord) -> tuple[ListenerFlows, Reply] | None:
        if record.listener in self._udp:
            listener, sock = self._udp[record.listener]
            return listener, sock.sendto
        tcp = self._tcp.get(record.listener)
        stream = None if tcp is None else tcp.streams.get(record.source)
        return None if tcp is None or stream is None else (tcp.listener_flows, stream.reply)
