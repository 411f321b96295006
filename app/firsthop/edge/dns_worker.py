"""One DNS worker: maps the table it is told of, answers from it, counts."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from pathlib import Path

from firsthop.addresses import Listen
from firsthop.edge.pipe import SupervisorPipe
from firsthop_dns.counters import Counters
from firsthop_dns.server import DnsServer
from firsthop_dns.tables import Tables
from firsthop_geodata.errors import GeodataError
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.sections import SectionError
from firsthop_steering.table import AnswerTable

REPORT_INTERVAL_S = 1.0


async def run(listen: Sequence[Listen]) -> None:
    """Until the supervisor is gone. A table that cannot be had leaves the old one in use."""
    pipe = await SupervisorPipe.open()
    counters = Counters()
    server: DnsServer | None = None
    reporting = asyncio.create_task(_report(pipe, counters))
    try:
        async for said in pipe.news():
            try:
                tables = await asyncio.to_thread(_load, said["table"], said["geodata"], counters)
                if server is None:
                    starting = DnsServer(listen, tables)
                    await starting.start()
                    server = starting
                else:
                    server.swap(tables)
            except (SectionError, GeodataError, OSError) as error:
                pipe.say(failure=str(error))
                continue
            gc.collect()
            gc.freeze()  # what a table holds is never garbage; collections need not look at it
            pipe.say(loaded=tables.digest, failure="")
    finally:
        reporting.cancel()
        if server is not None:
            await server.stop()


def _load(table: str, geodata: str, counters: Counters) -> Tables:
    geo = GeoTable.open(Path(geodata))
    return Tables(AnswerTable.open(Path(table)), counters, geo=geo)


async def _report(pipe: SupervisorPipe, counters: Counters) -> None:
    while True:
        await asyncio.sleep(REPORT_INTERVAL_S)
        pipe.report(counters=counters.snapshot())
