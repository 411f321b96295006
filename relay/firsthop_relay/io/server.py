"""The relay's asyncio server around the pure flow table: sockets, reading loop, timers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from firsthop_relay.flows.counters import RelayPacketCounters
from firsthop_relay.flows.drops import Drop
from firsthop_relay.flows.flow import (
    ClientSockaddr,
    Closed,
    Confirmed,
    Ending,
    Flow,
    ListenerFlows,
)
from firsthop_relay.flows.flow_table import STUN_BELOW, FlowTable
from firsthop_relay.flows.readings import CounterReading
from firsthop_relay.flows.routes import SocketAddress
from firsthop_relay.io.round_trips import ClientRoundTrips
from firsthop_relay.io.streams import StreamListener
from firsthop_relay.io.upstreams import Upstreams

DRAIN = 64  # datagrams per wake-up of a listener, so that other sockets and timers do not wait
DRAIN_UPSTREAMS = 256  # datagrams per wake-up of all upstreams together
DATAGRAM = 65_535
SHORTEST_PAUSE_S = 0.05  # between two runs of the timers


class Keeper(Protocol):
    """Stores confirmed flows for another process."""

    def keep(self, flow: Flow) -> None:
        """Store a flow that was confirmed."""

    def touch(self, flow: Flow) -> None:
        """Note that the flow's client was recently active."""

    def forget(self, flow: Flow) -> None:
        """Note that the flow has ended."""


_NOT_STUN = bytes([STUN_BELOW])
"""Every STUN packet, and an empty one, compares below it."""
_MAYBE_ELSEWHERE = (Drop.NOT_A_CHECK, Drop.UFRAG_EXPIRED)


def _ask_nowhere(_: ListenerFlows, __: ClientSockaddr) -> None:
    """The default of `ask`: flows are not shared."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class RelayServer:
    """Listening sockets that share one table, one set of upstreams and one set of counters."""

    def __init__(
        self, table: FlowTable, *, max_files: int, clock: Callable[[], datetime] = _utc_now
    ) -> None:
        self.table = table
        self.counters = RelayPacketCounters()
        self.round_trips = ClientRoundTrips()
        """Round trips to TCP clients."""
        self.upstreams = Upstreams()
        self.keepers: list[Keeper] = []
        self.ask: Callable[[ListenerFlows, ClientSockaddr], None] = _ask_nowhere
        """Called with a source that has no flow here or whose credential has expired: another relay
        may have its flow."""
        self.udp: dict[socket.socket, ListenerFlows] = {}
        self.tcp: list[StreamListener] = []
        self._max_files = max_files
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._reading = False

    def listen(self, sock: socket.socket) -> None:
        """Add a bound UDP socket or a listening TCP socket, to be served from `start` on."""
        sock.setblocking(False)  # it may come from another process
        if sock.type == socket.SOCK_STREAM:
            self.tcp.append(StreamListener(self, sock))
        else:
            self.udp[sock] = ListenerFlows()

    def start(self) -> None:
        """Read from all sockets."""
        self._reading = True
        self._loop.add_reader(self.upstreams.fileno(), self._drain_upstreams)
        for sock, listener in self.udp.items():
            self._loop.add_reader(sock, self._drain, sock, listener)
        for each in self.tcp:
            each.start()
        self._arm()

    def pause(self) -> None:
        """Stop reading; the kernel queues what arrives."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self.upstreams.fileno())
            for sock in self.udp:
                self._loop.remove_reader(sock)
            for each in self.tcp:
                each.pause()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def close(self) -> None:
        """Stop, and close all sockets."""
        self.pause()
        for each in self.tcp:
            each.close()
        for sock in self.udp:
            sock.close()
        self.upstreams.close_all()

    def reading(self) -> CounterReading:
        """All counters and gauges."""
        flow_counts = self.table.flow_counts
        return self.counters.reading() | {
            "sessions": {"": self.table.sessions},
            "flows": {
                "confirmed": flow_counts.total - flow_counts.unconfirmed,
                "unconfirmed": flow_counts.unconfirmed,
            },
            "streams": {"": self._streams()},
            "draining": {"": int(self.table.draining)},
        }

    def has_room(self) -> bool:
        """Whether one more socket leaves the reserve of descriptors untouched."""
        return len(self.upstreams) + self._streams() < self._max_files

    def _streams(self) -> int:
        return sum(len(each.streams) for each in self.tcp)

    # From clients

    def _drain(self, sock: socket.socket, listener: ListenerFlows) -> None:
        """The hot path: one look-up and one send for a packet of a flow that is not STUN."""
        receive, current = sock.recvfrom, listener.current.get
        packets = size = forwarded = 0
        for _ in range(DRAIN):
            try:
                packet, source = receive(DATAGRAM)
            except OSError:  # nothing left, or the ICMP error of an earlier answer
                break
            packets += 1
            size += len(packet)
            flow = current(source)
            if flow is not None and packet and packet[0] >= STUN_BELOW:
                flow.taken += 1
                try:
                    flow.send(packet)
                except OSError:
                    self.counters.dropped[Drop.UPSTREAM] += 1
                else:
                    forwarded += 1
            else:
                self.handle(listener, packet, source, sock.sendto)
        self.counters.packets_received += packets
        self.counters.bytes_received += size
        self.counters.to_upstream += forwarded

    def handle(
        self,
        listener: ListenerFlows,
        packet: bytes,
        source: ClientSockaddr,
        reply: Callable[[bytes, ClientSockaddr], object],
    ) -> Drop | None:
        """Forward, answer or drop a client's packet; returns the reason if it was dropped.

        The caller has counted the packet as received. `reply` sends to the client.
        """
        now = self._loop.time()
        outcome = self.table.receive(listener, packet, source, now=now, wall=self._clock())
        drop: Drop | None
        if isinstance(outcome, Flow):
            drop = self._forward(outcome, packet, reply)
        elif isinstance(outcome, bytes):
            drop = self._answer(outcome, source, reply)
        else:
            drop = outcome
        if drop is not None:
            self.counters.dropped[drop] += 1
            if drop in _MAYBE_ELSEWHERE:
                self.ask(listener, source)
        return drop

    def _forward(
        self, flow: Flow, packet: bytes, reply: Callable[[bytes, ClientSockaddr], object]
    ) -> Drop | None:
        if flow.leg is None:
            self._follow_events()  # a flow that it replaces leaves its descriptor
            self.counters.flows_opened += 1
            if not (self.has_room() and self.upstreams.open(flow)):
                self.end(flow, "socket")
                return Drop.NO_SOCKET
            flow.reply = reply
            self._arm()
        try:
            flow.send(packet)
        except OSError:
            return Drop.UPSTREAM
        self.counters.to_upstream += 1
        return None

    def _answer(
        self,
        answer: bytes,
        source: ClientSockaddr,
        reply: Callable[[bytes, ClientSockaddr], object],
    ) -> Drop | None:
        try:
            reply(answer, source)
        except OSError:
            return Drop.SEND
        self.counters.packets_answered += 1
        self.counters.bytes_answered += len(answer)
        return None

    # From upstreams

    def _drain_upstreams(self) -> None:
        """Read one datagram from each ready socket in turn, at most DRAIN_UPSTREAMS in all."""
        poll, flows = self.upstreams.poll, self.upstreams.flows.get
        left = DRAIN_UPSTREAMS
        packets = size = forwarded = 0
        while left > 0:
            ready = poll(0, left)
            if not ready:
                break
            left -= len(ready)
            for file, _ in ready:
                flow = flows(file)
                if flow is None:
                    continue
                try:
                    packet = flow.take(DATAGRAM)
                except OSError:  # the ICMP error of an earlier packet
                    continue
                packets += 1
                size += len(packet)
                if (not flow.current or packet < _NOT_STUN) and self._held_back(flow, packet):
                    continue
                try:
                    flow.reply(packet, flow.source)
                except OSError:
                    self.counters.dropped[Drop.SEND] += 1
                else:
                    forwarded += 1
        self.counters.packets_received += packets
        self.counters.bytes_received += size
        self.counters.to_client += forwarded

    def _held_back(self, flow: Flow, packet: bytes) -> bool:
        reason = self.table.returned(flow, packet, now=self._loop.time())
        self._follow_events()
        if reason is not None:
            self.counters.dropped[reason] += 1
        return reason is not None

    # Beginning and end of flows

    def restore(
        self,
        listener: ListenerFlows,
        source: ClientSockaddr,
        ufrag: bytes,
        upstream: SocketAddress,
        *,
        age_s: float,
        reply: Callable[[bytes, ClientSockaddr], object],
    ) -> Flow | None:
        """Add a flow that another process confirmed; the caller attaches its socket."""
        now = self._loop.time()
        flow = self.table.restore(listener, source, ufrag, upstream, age_s=age_s, now=now)
        if flow is not None:
            flow.reply = reply
            self.counters.flows_restored += 1
            for each in self.tcp:
                each.flow_restored(flow)
        return flow

    def end(self, flow: Flow, reason: Ending) -> None:
        """End a flow, and close its socket and connection."""
        self.table.close(flow, reason)
        self._follow_events()

    def _follow_events(self) -> None:
        while (event := self.table.next_event()) is not None:
            flow = event.flow
            if isinstance(event, Closed):
                self._closed(flow, event.reason)
            elif isinstance(event, Confirmed):
                self.counters.flows_confirmed += not event.again
                for keeper in self.keepers:
                    keeper.keep(flow)
            else:
                self.counters.flows_confirmed += 1
                self.counters.flows_held += 1

    def _closed(self, flow: Flow, reason: Ending) -> None:
        self.counters.flows_closed[reason] += 1
        for keeper in self.keepers:
            keeper.forget(flow)
        self.upstreams.close(flow)
        for each in self.tcp:
            each.flow_ended(flow)

    def _arm(self) -> None:
        """Schedule the next call of the table's timers."""
        due = self.table.get_timer()
        if due is None or not self._reading:
            return
        due = max(due, self._loop.time() + SHORTEST_PAUSE_S)
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        for flow in self.table.handle_timer(now=self._loop.time()):
            for keeper in self.keepers:
                keeper.touch(flow)
        self._follow_events()
        self._arm()
