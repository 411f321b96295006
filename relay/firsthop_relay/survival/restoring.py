"""A server takes up what an earlier process wrote into its journal."""

from __future__ import annotations

from firsthop_relay.io.server import RelayServer
from firsthop_relay.survival.journal import Journal, boot_time


def restore(server: RelayServer, journal: Journal) -> int:
    """Restore what is alive, and keep the journal from now on; gives how many flows go on.

    A flow goes on only by its old port: from another one the upstream would not know it. It is not
    restored when somebody else has that port, or its listener or route is no more.
    """
    lanes = {}
    for sock, lane in server.udp.items():
        address = sock.getsockname()[:2]
        lanes[address] = lane, sock.sendto
        journal.serve(lane, address)
    limits, now, restored = server.table.limits, boot_time(), 0
    for record in [*journal.records()]:
        idle_s = limits.idle_s + limits.look_s
        if record.listener not in lanes or not record.alive(
            now, idle_s=idle_s, lifetime_s=limits.lifetime_s
        ):
            continue
        lane, reply = lanes[record.listener]
        flow = server.restore(
            lane, record.source, record.ufrag, record.upstream,
            age_s=now - record.opened_at, reply=reply,
        )  # fmt: skip
        if flow is None:
            continue
        if server.has_room() and server.upstreams.open(flow, port=record.port):
            restored += 1
        else:
            server.end(flow, "socket")
    server.keepers.append(journal)
    for flow in server.upstreams.flows.values():
        if flow.current:
            journal.keep(flow)
    return restored
