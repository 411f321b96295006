"""Shared by the UDP and TCP shells: the tables in use, and the handling of our own faults.

An exception while answering costs one SERVFAIL and a line in the log, never the loop.
"""

from __future__ import annotations

import time

import structlog

from firsthop_dns.answer.client_keys import TransportKind
from firsthop_dns.answer.generation import Tables
from firsthop_dns.answer.respond import failure

log = structlog.get_logger(__name__)

LOG_PAUSE_S = 10.0
"""Seconds between two lines in the log, as such packets can be sent at line rate."""


class ErrorBoundary:
    """One assignment replaces `tables`, so every message is answered from one generation."""

    __slots__ = ("_quiet_until", "tables")

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._quiet_until = 0.0

    def count(self, metric: str) -> None:
        """Adds one to a metric without labels."""
        self.tables.counters.count(metric)

    def drop(self, reason: str, transport: TransportKind) -> None:
        """Counts a request that a shell does not answer, and why."""
        self.tables.counters.asked("", 0, transport)
        self.tables.counters.dropped(reason)

    def failed(self, packet: bytes, transport: TransportKind) -> bytes:
        """The reply to a packet on which answering raised; call it in the except clause."""
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + LOG_PAUSE_S
            log.exception("query.failed", packet=packet[:512].hex())
        return failure(packet, self.tables, transport)
