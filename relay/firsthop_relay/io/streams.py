"""ICE-TCP (RFC 6544), for clients that reach the relay only by TCP; to upstreams it is UDP.

A connection counts as one client address of its listener. Until its first packet has opened a flow,
it is called a stranger: strangers are limited in number, time and memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Protocol

from firsthop_relay.flows.counters import RelayPacketCounters
from firsthop_relay.flows.drops import Drop
from firsthop_relay.flows.flow import ClientSockaddr, Ending, Flow, ListenerFlows
from firsthop_relay.flows.flow_limits import Prefix, prefix_of
from firsthop_relay.flows.limits import CHECKED_WITHIN_S, UNCONFIRMED_S
from firsthop_relay.io.framing import FramingError, Unframer, frame
from firsthop_relay.io.round_trips import ClientRoundTrips, least_rtt_ms

ACCEPT_AT_ONCE = 16
ACCEPT_PAUSE_S = 1.0
CHUNK = 65_536
STRANGERS = 1024
"""Connections of one listener that may lack a flow; further ones are closed at once."""
STRANGERS_PER_PREFIX = 64
UNSENT = 128 * 1024
"""Bytes queued at most for a slow client; then packets are dropped, as they would be stale."""


class StreamOwner(Protocol):
    """The relay server, as its TCP listeners see it."""

    counters: RelayPacketCounters
    round_trips: ClientRoundTrips

    def has_room(self) -> bool:
        """Whether one more descriptor may be opened."""

    def handle(
        self,
        listener: ListenerFlows,
        packet: bytes,
        source: ClientSockaddr,
        reply: Callable[[bytes, ClientSockaddr], object],
    ) -> Drop | None:
        """Forward, answer or drop a client's packet; returns the reason if it was dropped."""

    def end(self, flow: Flow, reason: Ending) -> None:
        """End a flow."""


class Stream:
    """One connection of a client."""

    def __init__(
        self, listener: StreamListener, sock: socket.socket, source: ClientSockaddr
    ) -> None:
        self.sock = sock
        self.source = source
        self.unframer = Unframer()
        self.unsent = bytearray()
        self.prefix: Prefix = prefix_of(source[0])
        self._listener = listener

    def reply(self, packet: bytes, _: ClientSockaddr) -> int:
        """Send one whole packet to the client. Raises OSError if it is dropped."""
        framed = frame(packet)
        if self.unsent:
            if len(self.unsent) + len(framed) > UNSENT:
                raise BlockingIOError("the client reads too slowly")
            self.unsent += framed
            return len(packet)
        sent = self.sock.send(framed)
        if sent < len(framed):
            self.unsent += framed[sent:]
            self._listener.wait_to_send(self)
        return len(packet)


class StreamListener:
    """One listening TCP address of a worker."""

    def __init__(self, server: StreamOwner, sock: socket.socket) -> None:
        self.sock = sock
        self.listener_flows = ListenerFlows()
        self.streams: dict[ClientSockaddr, Stream] = {}
        self._strangers: dict[Prefix, set[ClientSockaddr]] = {}
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._reading = False

    def start(self) -> None:
        """Accept connections, and read from them."""
        self._reading = True
        self._loop.add_reader(self.sock, self._accept)
        for stream in self.streams.values():
            self._loop.add_reader(stream.sock, self._read, stream)
            if stream.unsent:
                self.wait_to_send(stream)

    def pause(self) -> None:
        """Stop accepting and reading."""
        self._reading = False
        self._loop.remove_reader(self.sock)
        for stream in self.streams.values():
            self._loop.remove_reader(stream.sock)
            self._loop.remove_writer(stream.sock)

    def close(self) -> None:
        """Close all connections, and stop listening."""
        for stream in [*self.streams.values()]:
            self._forget(stream)
        self.sock.close()

    def adopt(
        self, sock: socket.socket, source: ClientSockaddr, *, held: bytes, unsent: bytes
    ) -> Stream:
        """Add a connection taken over from another process, with its unread and unsent bytes.

        It is a stranger until its flow is restored, or its client's next check opens one.
        """
        stream = Stream(self, sock, source)
        stream.unframer = Unframer(held)
        stream.unsent += unsent
        self._add_stranger(stream, CHECKED_WITHIN_S)
        return stream

    def wait_to_send(self, stream: Stream) -> None:
        """Send the queued bytes when the socket is writable."""
        self._loop.add_writer(stream.sock, self._send_rest, stream)

    def flow_restored(self, flow: Flow) -> None:
        """Treat a connection that was taken over as its flow's."""
        stream = self.streams.get(flow.source)
        if flow.listener is self.listener_flows and stream is not None:
            self._welcome(stream)

    def flow_ended(self, flow: Flow) -> None:
        """Close the connection of a client that has no flow left."""
        if flow.listener is self.listener_flows and flow.source not in self.listener_flows.flows:
            stream = self.streams.get(flow.source)
            if stream is not None:
                self._forget(stream)

    def _accept(self) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                sock, source = self.sock.accept()
            except BlockingIOError:
                return
            except OSError:  # no descriptor or memory: meanwhile the kernel queues connections
                self._loop.remove_reader(self.sock)
                self._loop.call_later(ACCEPT_PAUSE_S, self._accept_again)
                return
            self._server.counters.streams_accepted += 1
            stream = Stream(self, sock, source)
            same = self._strangers.get(stream.prefix, ())
            if len(same) >= STRANGERS_PER_PREFIX:
                self._refuse(stream, "prefix_full")
            elif self._is_full():
                self._refuse(stream, "full")
            else:
                self._admit(stream)

    def _accept_again(self) -> None:
        if self._reading:
            self._loop.add_reader(self.sock, self._accept)

    def _is_full(self) -> bool:
        strangers = sum(map(len, self._strangers.values()))
        return strangers >= STRANGERS or not self._server.has_room()

    def _admit(self, stream: Stream) -> None:
        stream.sock.setblocking(False)
        stream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._add_stranger(stream, UNCONFIRMED_S)
        self._loop.add_reader(stream.sock, self._read, stream)

    def _add_stranger(self, stream: Stream, patience_s: float) -> None:
        self.streams[stream.source] = stream
        self._strangers.setdefault(stream.prefix, set()).add(stream.source)
        self._loop.call_later(patience_s, self._end_silent, stream)

    def _end_silent(self, stream: Stream) -> None:
        if self.streams.get(stream.source) is stream and not stream.unframer.trusted:
            self._refuse(stream, "silent")

    def _welcome(self, stream: Stream) -> None:
        stream.unframer.trusted = True
        self._remove_stranger(stream)

    def _read(self, stream: Stream) -> None:
        try:
            data = stream.sock.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(stream)
            return
        try:
            while packets := stream.unframer.feed(data):
                data = b""
                for packet in packets:
                    self._take(stream, packet)
                if self.streams.get(stream.source) is not stream:
                    return
        except FramingError:
            self._refuse(stream, "no_check")

    def _take(self, stream: Stream, packet: bytes) -> None:
        counters = self._server.counters
        counters.packets_received += 1
        counters.bytes_received += len(packet)
        drop = self._server.handle(self.listener_flows, packet, stream.source, stream.reply)
        if stream.unframer.trusted:
            return
        if stream.source in self.listener_flows.flows:
            self._welcome(stream)
            self._measure(stream)
        elif drop is None:  # a probe, which has been answered
            self._end(stream)
        else:
            self._refuse(stream, "no_check")

    def _send_rest(self, stream: Stream) -> None:
        try:
            sent = stream.sock.send(stream.unsent)
        except BlockingIOError:
            return
        except OSError:
            self._end(stream)
            return
        del stream.unsent[:sent]
        if not stream.unsent:
            self._loop.remove_writer(stream.sock)

    def _refuse(self, stream: Stream, reason: str) -> None:
        self._server.counters.streams_refused[reason] += 1
        self._end(stream)

    def _end(self, stream: Stream) -> None:
        self._forget(stream)
        for flow in [*self.listener_flows.flows.get(stream.source, ())]:
            self._server.end(flow, "stream")

    def _forget(self, stream: Stream) -> None:
        self._remove_stranger(stream)
        if stream.unframer.trusted:
            self._measure(stream)
        if self.streams.get(stream.source) is stream:
            del self.streams[stream.source]
            self._loop.remove_reader(stream.sock)
            self._loop.remove_writer(stream.sock)
        with contextlib.suppress(OSError):
            stream.sock.close()

    def _measure(self, stream: Stream) -> None:
        """Note the connection's round trip, when it gets a flow and when it ends."""
        rtt_ms = least_rtt_ms(stream.sock)
        if rtt_ms is not None:
            self._server.round_trips.note(stream.source[0], rtt_ms)

    def _remove_stranger(self, stream: Stream) -> None:
        """Remove the connection from the strangers: it has a flow now, or is closed."""
        same = self._strangers.get(stream.prefix)
        if same is not None:
            same.discard(stream.source)
            if not same:
                del self._strangers[stream.prefix]
