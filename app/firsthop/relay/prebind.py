"""Binds a relay's UDP addresses before the rest is imported, so that early packets are queued."""

from __future__ import annotations

import socket

from firsthop.addresses import format_listen
from firsthop.relay.settings import RelaySettings
from firsthop_net.listening import ListenError, bind_udp

Prebound = dict[str, socket.socket]
"""Sockets by address, as `format_listen` writes it."""


def prebind(settings: RelaySettings) -> Prebound:
    """Sockets of the addresses that can be bound; `RelaySockets` reports why others cannot."""
    bound: Prebound = {}
    if not settings.take_over:
        for each in settings.udp:
            try:
                bound[format_listen(*each)] = bind_udp(*each)
            except ListenError:
                break
    return bound
