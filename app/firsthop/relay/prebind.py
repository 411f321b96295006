"""Binds a relay's UDP addresses before other imports, so that early packets are queued."""

from __future__ import annotations

import socket

from firsthop.addresses import format_listen
from firsthop.relay.settings import RelaySettings
from firsthop_net.listening import ListenError, bind_udp

Prebound = dict[str, socket.socket]
"""Sockets by address, in the form of `format_listen`."""


def prebind(settings: RelaySettings) -> Prebound:
    """Bind the addresses that can be bound; for the others, `RelaySockets` reports the reason."""
    bound: Prebound = {}
    if not settings.take_over:
        for each in settings.udp:
            try:
                bound[format_listen(*each)] = bind_udp(*each)
            except ListenError:
                break
    return bound
