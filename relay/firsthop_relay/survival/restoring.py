"""Restores the flows of a journal into a server."""

from __future__ import annotations

from firsthop_relay.flows.flow import Flow
from firsthop_relay.io.server import RelayServer
from firsthop_relay.survival.journal import Journal
from firsthop_relay.survival.server_flows import ServerFlows, boot_time


def restore(server: RelayServer, journal: Journal) -> int:
    """Restore live flows and write the journal from now on; returns how many flows go on.

    A flow goes on only with its old port, as the upstream would not know another one. It is not
    restored if that port is taken, or its listener or route no longer exists.
    """
    flows = ServerFlows(server)
    for listener, address in flows.udp.items():
        journal.serve(listener, address)
    limits, now, restored = server.table.limits, boot_time(), 0
    idle_s = limits.idle_s + limits.look_s
    for record in [*journal.records()]:
        if record.alive(now, idle_s=idle_s, lifetime_s=limits.lifetime_s):

            def attach(flow: Flow, port: int = record.port) -> bool:
                return server.has_room() and server.upstreams.open(flow, port=port)

            restored += flows.resume(record, now=now, attach=attach)
    server.keepers.append(journal)
    for flow in server.upstreams.flows.values():
        if flow.current:
            journal.keep(flow)
    return restored
