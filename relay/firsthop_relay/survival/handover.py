"""A worker hands its flows and their sockets over to its successor, so that no packet is lost.

Each batch is one message over a Unix socket that preserves message boundaries: JSON of flow records
and of TCP connections, and their sockets as SCM_RIGHTS (unix(7)). Packets that arrive meanwhile
wait in those sockets.

Between releases: messages of a predecessor that does not send records yet are understood. A
successor that does not know records closes the sockets and restores the flows from the journal, as
after a crash.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from firsthop_relay.flows.flow import Flow
from firsthop_relay.io.server import RelayServer
from firsthop_relay.io.streams import Stream, StreamListener
from firsthop_relay.io.upstreams import is_connected_to
from firsthop_relay.survival.flow_record import FlowRecord, ListenerAddress, decode, encode
from firsthop_relay.survival.server_flows import ServerFlows, boot_time

BATCH: Final = 100
"""Sockets in one message; Linux allows 253 (SCM_MAX_FD)."""
MESSAGE_SIZE: Final = 128 * 1024
PATIENCE_S: Final = 5.0
"""Seconds without a message after which the other side is considered gone."""
_NO_LISTENER: Final[dict[str, Any]] = {"lane": [], "source": [], "upstream": ["", 0]}
"""Fields added to every record: an older successor reads only them, and finds no listener."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One message: descriptions and, in the same order, file descriptors."""

    content: Mapping[str, Any]
    files: Sequence[int]


def give(server: RelayServer, channel: socket.socket) -> int:
    """Send all confirmed flows of a paused server; returns their number.

    Raises OSError if the successor does not receive them.
    """
    channel.settimeout(PATIENCE_S)
    flows = [flow for flow in server.upstreams.flows.values() if flow.current]
    streams = [(each, stream) for each in server.tcp for stream in each.streams.values()]
    listeners, now = ServerFlows(server), boot_time()
    for some in _batches(streams):
        content = {"streams": [_describe_stream(each, stream) for each, stream in some]}
        _send(channel, content, [stream.sock.fileno() for _, stream in some])
    for batch in _batches(flows):
        records = [encode(listeners.record(flow, now=now)) for flow in batch]
        content = {"flows": [{"record": _text(each)} | _NO_LISTENER for each in records]}
        _send(channel, content, [flow.leg.fileno() for flow in batch])
    _send(channel, {"last": True}, [])
    return len(flows)


def receive(channel: socket.socket) -> list[Batch]:
    """All batches of a predecessor; none if it is gone. Blocks until it sends or ends."""
    channel.setblocking(True)
    batches: list[Batch] = []
    with contextlib.suppress(OSError):
        while True:
            message, files, _, _ = socket.recv_fds(
                channel, MESSAGE_SIZE, BATCH, socket.MSG_CMSG_CLOEXEC
            )
            content = json.loads(message) if message else {"last": True}
            if content.get("last"):
                break
            batches.append(Batch(content, files))
            channel.settimeout(PATIENCE_S)
    return batches


def adopt(server: RelayServer, batches: Sequence[Batch]) -> int:
    """Add the received flows and connections to the server; returns how many flows go on."""
    adopted, now = 0, boot_time()
    listeners = ServerFlows(server)
    tcp = {ListenerAddress.of(each.sock): each for each in server.tcp}
    for batch in batches:
        entries = [*batch.content.get("streams", ()), *batch.content.get("flows", ())]
        for entry, file in zip(entries, batch.files, strict=True):
            sock = socket.socket(fileno=file)
            sock.setblocking(False)
            if "held" in entry:
                _adopt_stream(tcp, entry, sock)
                continue
            record = _record(entry, now)

            def attach(flow: Flow, sock: socket.socket = sock) -> bool:
                return _attach(server, flow, sock)

            if record is not None and listeners.resume(record, now=now, attach=attach):
                adopted += 1
            else:
                sock.close()
    return adopted


def _batches(entries: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(entries), BATCH):
        yield entries[first : first + BATCH]


def _send(channel: socket.socket, content: Mapping[str, Any], files: Sequence[int]) -> None:
    socket.send_fds(channel, [json.dumps(content).encode()], files)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _record(entry: Mapping[str, Any], now: float) -> FlowRecord | None:
    if "record" in entry:
        return decode(base64.b64decode(entry["record"]))
    host, port = entry["upstream"]  # a predecessor without records
    return FlowRecord(
        _listener(entry), tuple(entry["source"]), entry["ufrag"].encode(), (host, port),
        0, now - entry["age_s"], now,
    )  # fmt: skip


def _listener(entry: Mapping[str, Any]) -> ListenerAddress:
    kind, host, port = entry["lane"]
    return ListenerAddress("tcp" if kind == socket.SOCK_STREAM else "udp", host, port)


def _attach(server: RelayServer, flow: Flow, sock: socket.socket) -> bool:
    if not is_connected_to(sock, flow.upstream):
        return False
    server.upstreams.adopt(flow, sock)
    return True


def _describe_stream(listener: StreamListener, stream: Stream) -> dict[str, Any]:
    return {
        "lane": [socket.SOCK_STREAM, *listener.sock.getsockname()[:2]],
        "source": stream.source,
        "held": _text(stream.unframer.held),
        "unsent": _text(bytes(stream.unsent)),
    }


def _adopt_stream(
    tcp: Mapping[ListenerAddress, StreamListener], entry: Mapping[str, Any], sock: socket.socket
) -> None:
    listener = tcp.get(_listener(entry))
    if listener is None:
        sock.close()
        return
    held, unsent = (base64.b64decode(entry[each]) for each in ("held", "unsent"))
    listener.adopt(sock, tuple(entry["source"]), held=held, unsent=unsent)
