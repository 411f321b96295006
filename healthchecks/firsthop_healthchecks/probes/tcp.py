"""TCP: the port accepts a connection."""

from __future__ import annotations

import asyncio
import socket

from firsthop_healthchecks.probes import Passed, ProbeOutcome, timed_out
from firsthop_healthchecks.probes.source import ANY, SourceAddresses
from firsthop_steering.feed.reports import ProbeTarget


class TcpProbe:
    """Connects and closes; sends nothing."""

    def __init__(self, source: SourceAddresses = ANY) -> None:
        self._source = source

    async def check(self, target: ProbeTarget) -> ProbeOutcome:
        """Passed if the handshake completes."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            with self._source.new_socket(target.address.version, socket.SOCK_STREAM) as sock:
                async with asyncio.timeout(target.timeout_s):
                    await loop.sock_connect(sock, (str(target.address), target.port))
        except TimeoutError:
            return timed_out(target)
        except OSError as error:
            return self._source.not_reached(target, error)
        return Passed((loop.time() - started) * 1000)

    async def close(self) -> None:
        """Nothing is shared."""
