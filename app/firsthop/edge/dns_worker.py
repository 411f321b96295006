"""One DNS worker: maps the table it is told of, answers from it, counts."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Sequence
from pathlib import Path

from firsthop.addresses import Listen
from firsthop.edge.pipe import news, say
from firsthop_dns.counters import Counters
from firsthop_dns.server import DnsServer
from firsthop_dns.tables import Tables
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.table import AnswerTable

REPORT_INTERVAL_S = 1.0


async def run(listen: Sequence[Listen]) -> None:
    """Until the supervisor is gone. Raises OSError when an address cannot be had."""
    counters = Counters()
    server: DnsServer | None = None
    reporting = asyncio.create_task(_report(counters))
    try:
        async for said in news():
            tables = await asyncio.to_thread(_load, said["table"], said["geodata"], counters)
            if server is None:
                server = DnsServer(listen, tables)
                await server.start()
            else:
                server.swap(tables)
            gc.collect()
            gc.freeze()  # what a table holds is never garbage; collections need not look at it
            say(loaded=tables.digest)
    finally:
        reporting.cancel()
        if server is not None:
            await server.stop()


def _load(table: str, geodata: str, counters: Counters) -> Tables:
    geo = GeoTable.open(Path(geodata))
    return Tables(AnswerTable.open(Path(table)), counters, geo=geo)


async def _report(counters: Counters) -> None:
    with contextlib.suppress(BrokenPipeError):
        while True:
            await asyncio.sleep(REPORT_INTERVAL_S)
            say(counters=counters.snapshot())
