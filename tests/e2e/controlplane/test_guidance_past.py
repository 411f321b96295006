"""What edges were told of prices and latency is known for every past moment, or known not to be."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from alembic import command
from sqlalchemy import Connection, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from structlog.testing import capture_logs

from firsthop.postgres.server import EmbeddedPostgres
from firsthop_controlplane.history.guidance_log import (
    MIN_CHANGED,
    GuidanceHistory,
    GuidanceLog,
    PastSnapshot,
    forget,
)
from firsthop_controlplane.leader.leadership import first_number
from firsthop_controlplane.store.engine import create_engine
from firsthop_controlplane.store.migrate import alembic_config
from firsthop_steering.feed.snapshot import Latency, Prices, payload_of
from support.waiting import eventually

pytestmark = pytest.mark.database

START = datetime(2026, 11, 1, tzinfo=UTC)
KEPT = timedelta(days=7)
UNKNOWN: PastSnapshot[Any] = PastSnapshot(known=False)
REGIONS = ("ams", "fra", "iad", "sin")


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The store of this test."""
    made = create_engine(database_url, application="test", statement_timeout_s=10)
    yield made
    await made.dispose()


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def _prices(number: int, second: float, **now: float) -> Prices:
    without = {name: {"iad": price + 1.0} for name, price in now.items()}
    return Prices(number=number, lineage="store", created_at=_at(second), now=now, without=without)


def _latency(number: int, second: float, rows: dict[str, tuple[int | None, ...]]) -> Latency:
    return Latency(
        number=number,
        lineage="store",
        created_at=_at(second),
        regions=REGIONS,
        base_ms=(1.0, 2.0, 3.0, 4.0),
        prefixes=rows,
    )


def _log_of(engine: AsyncEngine, model: Any = Prices, second: float = 0.0) -> GuidanceLog[Any]:
    return GuidanceLog(engine, model, now=lambda: _at(second), kept=KEPT)


async def _told(engine: AsyncEngine, second: float, model: Any = Prices) -> PastSnapshot[Any]:
    return await GuidanceHistory(engine).snapshot_at(model, _at(second), None)


async def test_every_moment_of_two_terms_is_known(engine: AsyncEngine) -> None:
    """Through wholes and changes; the next leader goes on with the very last of them."""
    draw = random.Random(6)
    told: dict[int, Prices] = {}
    for term in (7, 8):
        log = _log_of(engine, second=1000 * term - 1)
        assert await log.begin(None) == (told[7999] if told else None)
        for each in range(1000):
            now = {name: round(draw.uniform(0, 90), 2) for name in draw.sample(REGIONS, 3)}
            second = 1000 * term + each
            snapshot = _prices(first_number(term) + each + 1, second, **now)
            told[second] = snapshot
            await log.note(snapshot)
            if each % 7 == 0 or each == 999:
                assert await log.save()
    assert await _told(engine, 6998) == UNKNOWN
    assert await _told(engine, 6999.5) == PastSnapshot(known=True, snapshot=None), "there was none"
    for second in (7000, 7499, 7999, 8000, 8001, 8500, 8999, *draw.sample(sorted(told), 100)):
        assert (await _told(engine, second + 0.5)).snapshot == told[second]
    async with engine.connect() as connection:
        query = "SELECT whole, length(content) FROM guidance_past"
        rows = (await connection.execute(text(query))).all()
    assert len(rows) == 2001
    wholes = [size for whole, size in rows if whole]
    assert 2 < len(wholes) < 500, "most of them are changes"
    assert sum(size for _, size in rows) < 2 * sum(max(size, MIN_CHANGED) for size in wholes)


async def test_learned_rows_come_and_go(engine: AsyncEngine) -> None:
    """In the order of a published snapshot, by which edges name their tables."""
    log = _log_of(engine, Latency)
    await log.begin(None)
    rows: dict[str, tuple[int | None, ...]] = {
        f"10.{n % 250}.{n // 250}.0/24": (n, None, 2 * n, 7) for n in range(3000)
    }
    first = _latency(1, 10, rows)
    more = {**rows, "9.0.0.0/24": (1, 2, 3, 4), "2001:db8::/48": (1, None, None, None)}
    more["10.7.9.0/24"] = (None, None, 5, 6)
    del more["10.8.9.0/24"]
    second = _latency(2, 20, more)
    for each in (first, second):
        await log.note(each)
        assert await log.save()
    assert (await _told(engine, 15, Latency)).snapshot == first
    assert (await _told(engine, 25, Latency)).snapshot == second
    heir = await _log_of(engine, Latency).begin(None)
    assert heir == second
    assert list(heir.prefixes)[:2] == ["9.0.0.0/24", "10.0.0.0/24"]
    assert list(heir.prefixes)[-1] == "2001:db8::/48"


async def test_what_a_former_leader_writes_late_is_of_its_own_time(engine: AsyncEngine) -> None:
    """Its outage is known afterwards; what its successor tells is not touched."""
    former, heir = _log_of(engine), _log_of(engine)
    await former.begin(None)
    for each in (1, 2, 3):
        await former.note(_prices(first_number(7) + each, each, ams=float(each)))
        if each == 2:
            assert await former.save()
    assert await heir.begin(None) == _prices(first_number(7) + 2, 2, ams=2.0)
    told = [_prices(first_number(8) + n, 4 + n, ams=5.0, sin=float(n)) for n in (1, 2)]
    await heir.note(told[0])
    assert await heir.save()
    assert (await _told(engine, 4)).snapshot == _prices(first_number(7) + 2, 2, ams=2.0)
    assert await former.save()
    await heir.note(told[1])
    assert await heir.save()
    assert (await _told(engine, 4)).snapshot == _prices(first_number(7) + 3, 3, ams=3.0)
    assert [(await _told(engine, 4 + n)).snapshot for n in (1, 2)] == told
    assert await _log_of(engine).begin(None) == told[1]


async def test_what_was_heard_of_a_leader_that_died_counts(engine: AsyncEngine) -> None:
    """It was not written, yet edges have it; and damaged rows keep no leader from beginning."""
    former, heir = _log_of(engine), _log_of(engine)
    await former.begin(None)
    stored, heard, more = (_prices(first_number(7) + n, n, ams=float(n)) for n in (1, 2, 3))
    await former.note(stored)
    assert await former.save()
    for each in (heard, more):
        await former.note(each)
    assert await heir.begin(stored) == stored
    assert await heir.begin(heard) == heard
    await heir.note(_prices(first_number(8) + 1, 5, ams=5.0, fra=5.0))
    assert await heir.save()
    assert await former.save(), "not dead after all"
    assert [(await _told(engine, n + 0.5)).snapshot for n in (1, 2, 3)] == [stored, heard, more]
    assert (await _told(engine, 6)).snapshot == _prices(first_number(8) + 1, 5, ams=5.0, fra=5.0)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE guidance_past SET content = 'junk'"))
    assert await _told(engine, 6) == UNKNOWN
    assert await _log_of(engine).begin(None) is None
    assert await _log_of(engine).begin(heard) == heard


async def test_numbers_decide_where_clocks_do_not_agree(engine: AsyncEngine) -> None:
    """As they do for edges: a clock that was set back, and an heir's that is behind."""
    log = _log_of(engine)
    await log.begin(None)
    for number, second in ((1, 3600), (2, 10), (3, 20)):
        await log.note(_prices(number, second, ams=float(number)))
    assert await log.save()
    known = [(await _told(engine, second)).snapshot for second in (15, 25, 5000)]
    assert [each and each.number for each in known] == [2, 3, 3]


async def test_what_could_not_be_written_waits(
    engine: AsyncEngine, postgres: Any, database_url: str
) -> None:
    """While the database is away nobody is kept from planning, and it is said once."""
    log = _log_of(engine)
    await log.begin(None)
    await log.note(_prices(1, 1, ams=1.0))
    assert await log.save()
    name = make_url(database_url).database
    admin = await asyncpg.connect(postgres.url_of("postgres"))
    with capture_logs() as said:
        try:
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
            )
            for number in range(2, 1000):
                await log.note(_prices(number, number, ams=float(number)))
            assert not await log.save()
            assert not await log.save()
        finally:
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            await admin.close()
        assert await log.save()
    events = [each["event"] for each in said]
    assert events == ["guidance.save_failed", "guidance.saved"]
    for number in (2, 500, 999):
        assert (await _told(engine, number)).snapshot == _prices(number, number, ams=float(number))
    running = asyncio.create_task(log.run())
    await log.note(_prices(1000, 1000, fra=9.0))

    async def written() -> bool:
        return (await _told(engine, 1000)).snapshot == _prices(1000, 1000, fra=9.0)

    await eventually(written, "what is noted is written by itself")
    running.cancel()


async def test_of_too_much_it_is_said_that_it_is_not_known(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the newest is kept all the same, also where a save was done whose answer was lost."""
    log = _log_of(engine)
    await log.begin(None)
    for number in (1, 2):
        await log.note(_prices(number, number, ams=float(number)))
    waiting = log._pending
    assert await log.save()
    log._pending = waiting[2:]
    monkeypatch.setattr("firsthop_controlplane.history.guidance_log.MAX_PENDING", 300)
    for number in range(3, 9):
        await log.note(_prices(number, number, **dict.fromkeys(REGIONS, float(number))))
    monkeypatch.undo()
    assert await log.save()
    assert await _log_of(engine).begin(None) == log._last
    assert (await _told(engine, 1.5)).snapshot == _prices(1, 1, ams=1.0)
    assert await _told(engine, 2.5) == UNKNOWN
    assert await _told(engine, 7.5) == UNKNOWN
    assert (await _told(engine, 8)).snapshot == log._last


async def test_what_is_too_old_is_forgotten(engine: AsyncEngine) -> None:
    """And what is needed to know the first moment that is kept stays."""
    log = _log_of(engine)
    await log.begin(None)
    told = [_prices(n, n, ams=float(n), fra=1.0) for n in range(1, 400)]
    for each in told:
        await log.note(each)
    assert await log.save()
    async with AsyncSession(engine) as session, session.begin():
        before = len((await session.execute(text("SELECT 1 FROM guidance_past"))).all())
        await forget(session, "prices", _at(300))
        await forget(session, "latency", _at(300))
        after = len((await session.execute(text("SELECT 1 FROM guidance_past"))).all())
    assert 100 <= after < before == 400
    assert [(await _told(engine, n)).snapshot for n in range(300, 400)] == told[299:]
    assert await _told(engine, 1) == UNKNOWN


async def test_the_last_word_of_an_older_store_is_kept(own_server: EmbeddedPostgres) -> None:
    """Migrated from the table that held no more than that; a damaged row is left behind."""
    engine = create_engine(own_server.url, application="test", statement_timeout_s=30)

    def upgrade(connection: Connection, revision: str) -> None:
        command.upgrade(alembic_config(connection), revision)

    async with engine.connect() as connection:
        await connection.run_sync(upgrade, "0009")
    latency = _latency(7_000_000_001, 5, {"9.0.0.0/24": (1, 2, None, 4)})
    content = zlib.compress(payload_of(latency).encode())
    async with engine.begin() as connection:
        for kind, each in (("latency", content), ("prices", b"junk")):
            await connection.execute(
                text("INSERT INTO steering_snapshot VALUES (:kind, :at, :content)"),
                {"kind": kind, "at": _at(5), "content": each},
            )
    async with engine.connect() as connection:
        await connection.run_sync(upgrade, "head")
    assert await _log_of(engine, Latency).begin(None) == latency
    assert await _log_of(engine).begin(None) is None
    await engine.dispose()
