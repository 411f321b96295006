"""One DNS worker: maps the table that the supervisor names, answers from it, counts answers."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from firsthop.process.pipe import SupervisorPipe
from firsthop_dns.answer.counters import DnsCounters
from firsthop_dns.answer.generation import Tables
from firsthop_dns.answer.instance import Instance
from firsthop_dns.serve.listening import Pair
from firsthop_dns.serve.server import DnsServer
from firsthop_geodata.errors import GeodataError
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.compile.sections import SectionError
from firsthop_steering.compile.table import AnswerTable
from firsthop_steering.feed.demand import prefix_text

REPORT_INTERVAL_S = 1.0


async def run(pairs: Sequence[Pair]) -> None:
    """Run until the supervisor ends. If a table cannot be opened, the former one stays in use.

    Queries wait in their sockets until there is a table, or the supervisor sends `unready`.
    """
    pipe = await SupervisorPipe.open()
    instance = Instance.of(DnsCounters(), {})
    reporting = asyncio.create_task(_report(pipe, instance))
    known: dict[str, Any] = {}
    server: DnsServer | None = None
    try:
        async for message in pipe.messages():
            options = _changed(known, message)
            instance.update(options)
            known |= message
            tables = None
            if "table" in message or options:
                tables = await _tables(instance, known, pipe)
            if server is not None and tables is not None:
                server.swap(tables)
            elif server is None and (tables is not None or known.get("unready")):
                server = DnsServer(pairs, tables or Tables.unready(instance))
                await server.start()
            if tables is not None:
                gc.collect()
                gc.freeze()  # a table stays in use for long, so collections need not scan it
                pipe.send(loaded=tables.digest, table=known["table"], failure="")
    finally:
        reporting.cancel()
        if server is not None:
            await server.stop()


def _changed(known: Mapping[str, Any], message: Mapping[str, Any]) -> dict[str, Any]:
    """The options that have changed; setting an unchanged limit again would reset its state."""
    before = known.get("options", {})
    return {
        name: value
        for name, value in message.get("options", {}).items()
        if name not in before or before[name] != value
    }


async def _tables(
    instance: Instance, known: Mapping[str, Any], pipe: SupervisorPipe
) -> Tables | None:
    """The tables in the named file; None, and a failure report, if it cannot be opened."""
    if "table" not in known:
        return None
    try:
        return await asyncio.to_thread(_load, known["table"], known["geodata"], instance)
    except (SectionError, GeodataError, OSError) as error:
        pipe.send(failure=str(error))
        return None


def _load(table: str, geodata: str, instance: Instance) -> Tables:
    geo = GeoTable.open(Path(geodata))
    return Tables(AnswerTable.open(Path(table)), instance, geo=geo)


async def _report(pipe: SupervisorPipe, instance: Instance) -> None:
    counters = instance.counters
    while True:
        await asyncio.sleep(REPORT_INTERVAL_S)
        clients = [
            (labels["service"], labels["region"], prefix_text(prefix), count, labels["family"])
            for (slot, prefix), count in instance.survey.take().items()
            for labels in (counters.labels(cast(int, slot)),)
        ]
        pipe.report(counters=counters.snapshot(), clients=clients)
