"""The UDP addresses of a relay, bound before the rest is imported: what comes meanwhile waits."""

from __future__ import annotations

import socket

from firsthop.addresses import format_listen
from firsthop.relay.settings import RelaySettings
from firsthop_relay.io.listening import ListenError, bind_udp

Early = dict[str, socket.socket]
"""By address, as `format_listen` writes it."""


def bind_early(settings: RelaySettings) -> Early:
    """What can be had at once; why the others cannot is said by who asks again, in its turn."""
    bound: Early = {}
    if not settings.take_over:
        for each in settings.udp:
            try:
                bound[format_listen(*each)] = bind_udp(*each)
            except ListenError:
                break
    return bound
