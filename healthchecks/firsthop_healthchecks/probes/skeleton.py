"""Template of a new kind of probe: copy this file, and follow `healthchecks/README.md`.

It is a complete kind, tested like the others, but in no table, so it cannot be configured: UDP echo
(RFC 862), which sends a few octets and expects the same ones back.
"""

from __future__ import annotations

import os
from functools import partial

from firsthop_healthchecks.probes import ProbeOutcome
from firsthop_healthchecks.probes.datagram import exchange
from firsthop_healthchecks.probes.source import ANY, SourceAddresses
from firsthop_steering.feed.reports import ProbeTarget


class SkeletonProbe:
    """State what is sent, what is read, and what is ignored. One instance serves all targets.

    Whatever all checks share (a socket, a session) is created at the first check and kept here.
    """

    def __init__(self, source: SourceAddresses = ANY) -> None:
        """Open no socket here: there may be no loop yet, and no target of this kind."""
        self._source = source

    async def check(self, target: ProbeTarget) -> ProbeOutcome:
        """Check once: Passed with milliseconds, Failed with a reason, or Unable.

        The rules: end within `target.timeout_s`; measure with the loop's time; raise nothing, so
        convert OSError with `self._source.not_reached`, which separates this host's faults from the
        target's; return Unable if the check shows nothing about the target; name neither target nor
        time in a reason; treat every octet that comes back as hostile, and read no more than the
        check needs. `exchange` follows these rules for kinds with one datagram; `tcp.py` is an
        example with a connection.
        """
        nonce = os.urandom(16)
        return await exchange(target, self._source, packet=nonce, judge=partial(judge, nonce))

    async def close(self) -> None:
        """Release what the checks share; nothing here."""


def judge(nonce: bytes, packet: bytes) -> str | None:
    """Keep the parsing of answers pure, so unit tests can feed it anything."""
    return None if packet == nonce else "echo of something else"
