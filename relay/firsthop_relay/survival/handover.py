"""A worker gives its flows to its successor, sockets and all, so that no packet is lost.

One record a batch over a Unix socket that keeps records apart: what the flows are as JSON, their
upstream sockets and the clients' TCP connections as SCM_RIGHTS (unix(7)). What arrives meanwhile
waits in those sockets.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from firsthop_relay.flows.flow import ClientSockaddr, Flow, Lane
from firsthop_relay.io.server import RelayServer
from firsthop_relay.io.streams import StreamListener
from firsthop_relay.io.upstreams import is_connected_to

BATCH: Final = 100
"""Linux takes 253 files in one record (SCM_MAX_FD)."""
RECORD: Final = 128 * 1024
PATIENCE_S: Final = 5.0
"""Without a record for so long, the other side is taken to be gone."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One record: descriptions and, in the same order, files."""

    said: dict[str, Any]
    files: Sequence[int]


def give(server: RelayServer, channel: socket.socket) -> int:
    """Send all confirmed flows of a server that is paused; gives how many went.

    Raises OSError when nobody takes them.
    """
    channel.settimeout(PATIENCE_S)
    flows = [flow for flow in server.upstreams.flows.values() if flow.current]
    streams = [(each, stream) for each in server.tcp for stream in each.streams.values()]
    now = time.monotonic()
    for some in _batches(streams):
        said = {"streams": [_describe_stream(each, stream) for each, stream in some]}
        _send(channel, said, [stream.sock.fileno() for _, stream in some])
    for batch in _batches(flows):
        said = {"flows": [_describe(server, flow, now) for flow in batch]}
        _send(channel, said, [flow.leg.fileno() for flow in batch])
    _send(channel, {"last": True}, [])
    return len(flows)


def receive(channel: socket.socket) -> list[Batch]:
    """All that a predecessor gives; nothing if it is gone. Blocks as long as it takes."""
    channel.setblocking(True)
    batches: list[Batch] = []
    with contextlib.suppress(OSError):
        while True:
            record, files, _, _ = socket.recv_fds(channel, RECORD, BATCH, socket.MSG_CMSG_CLOEXEC)
            said = json.loads(record) if record else {"last": True}
            if said.get("last"):
                break
            batches.append(Batch(said, files))
            channel.settimeout(PATIENCE_S)
    return batches


def adopt(server: RelayServer, batches: Sequence[Batch]) -> int:
    """Make what was received the server's own; gives how many flows go on."""
    adopted = 0
    udp = {_address(sock): (lane, sock) for sock, lane in server.udp.items()}
    tcp = {_address(each.sock): each for each in server.tcp}
    for batch in batches:
        entries = [*batch.said.get("streams", ()), *batch.said.get("flows", ())]
        for entry, file in zip(entries, batch.files, strict=True):
            sock = socket.socket(fileno=file)
            sock.setblocking(False)
            if "held" in entry:
                _adopt_stream(tcp, entry, sock)
            elif _adopt_flow(server, udp, tcp, entry, sock):
                adopted += 1
            else:
                sock.close()
    return adopted


def _batches(entries: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(entries), BATCH):
        yield entries[first : first + BATCH]


def _send(channel: socket.socket, said: dict[str, Any], files: Sequence[int]) -> None:
    socket.send_fds(channel, [json.dumps(said).encode()], files)


def _describe(server: RelayServer, flow: Flow, now: float) -> dict[str, Any]:
    return {
        "lane": _address(_listener_of(server, flow.lane)),
        "source": flow.source,
        "ufrag": flow.ufrag.decode(),
        "upstream": flow.upstream,
        "age_s": now - flow.opened_at,
    }


def _listener_of(server: RelayServer, lane: Lane) -> socket.socket:
    for sock, each in server.udp.items():
        if each is lane:
            return sock
    return next(each.sock for each in server.tcp if each.lane is lane)


def _describe_stream(listener: StreamListener, stream: Any) -> dict[str, Any]:
    return {
        "lane": _address(listener.sock),
        "source": stream.source,
        "held": base64.b64encode(stream.unframer.held).decode(),
        "unsent": base64.b64encode(bytes(stream.unsent)).decode(),
    }


def _address(sock: socket.socket) -> tuple[Any, ...]:
    return sock.type, *sock.getsockname()[:2]


def _adopt_stream(
    tcp: dict[tuple[Any, ...], StreamListener], entry: dict[str, Any], sock: socket.socket
) -> None:
    listener = tcp.get(tuple(entry["lane"]))
    if listener is None:
        sock.close()
        return
    held, unsent = (base64.b64decode(entry[each]) for each in ("held", "unsent"))
    listener.adopt(sock, tuple(entry["source"]), held=held, unsent=unsent)


def _adopt_flow(
    server: RelayServer,
    udp: dict[tuple[Any, ...], tuple[Lane, socket.socket]],
    tcp: dict[tuple[Any, ...], StreamListener],
    entry: dict[str, Any],
    sock: socket.socket,
) -> bool:
    """False for a flow whose listener, connection, route or place is no more."""
    reply: Callable[[bytes, ClientSockaddr], object]
    where, source = tuple(entry["lane"]), tuple(entry["source"])
    upstream = entry["upstream"][0], entry["upstream"][1]
    if where in udp:
        lane, listener = udp[where]
        reply = listener.sendto
    elif where in tcp and source in tcp[where].streams:
        lane, reply = tcp[where].lane, tcp[where].streams[source].reply
    else:
        return False
    if not is_connected_to(sock, upstream):
        return False
    flow = server.restore(
        lane, source, entry["ufrag"].encode(), upstream, age_s=entry["age_s"], reply=reply
    )
    if flow is None:
        return False
    server.upstreams.adopt(flow, sock)
    return True
