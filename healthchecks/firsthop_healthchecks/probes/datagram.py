"""One request and one answer over a connected datagram socket; used by dns and icmp.

The kernel drops datagrams from other sources; each kind of probe judges those from the target.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from firsthop_healthchecks.probes import Failed, Passed, ProbeOutcome, timed_out
from firsthop_healthchecks.probes.source import SourceAddresses
from firsthop_steering.feed.reports import ProbeTarget

DATAGRAM = 65535

Judge = Callable[[bytes], "Failed | str | None"]
"""Judges a packet. None: the correct answer; Failed: a wrong answer; text: why it is no answer."""


async def exchange(
    target: ProbeTarget,
    source: SourceAddresses,
    *,
    packet: bytes,
    judge: Judge,
    protocol: int = 0,
) -> ProbeOutcome:
    """Send `packet` once and wait for its answer until the target's time-out.

    Packets that are not an answer do not end the check, as they may be forged; if no answer
    follows, the check fails with what was wrong with the last of them.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    version, silence = target.address.version, timed_out(target)
    try:
        async with asyncio.timeout(target.timeout_s):
            with source.new_socket(version, socket.SOCK_DGRAM, protocol) as sock:
                sock.connect((str(target.address), target.port))  # sends nothing: never blocks
                await loop.sock_sendall(sock, packet)
                while True:
                    found = judge(await loop.sock_recv(sock, DATAGRAM))
                    if found is None:
                        return Passed((loop.time() - started) * 1000)
                    if isinstance(found, Failed):
                        return found
                    silence = Failed(found)
    except TimeoutError:
        return silence
    except OSError as error:
        return source.not_reached(target, error)
