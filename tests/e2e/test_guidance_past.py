"""What edges were told of prices and latency is known for every past moment, or known not to be."""

from __future__ import annotations

import json
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

from firsthop.postgres import EmbeddedPostgres
from firsthop_controlplane.leadership import first_number
from firsthop_controlplane.store.engine import create_engine
from firsthop_controlplane.store.guidance import UNKNOWN, GuidanceLog, Told, forget, told_at
from firsthop_controlplane.store.migrate import alembic_config
from firsthop_steering.snapshot import Latency, Prices, payload_of

pytestmark = pytest.mark.database

START = datetime(2026, 11, 1, tzinfo=UTC)
KEPT = timedelta(days=7)
REGIONS = ("ams", "fra", "iad", "sin")


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The store of this test, whose leader has term 7."""
    made = create_engine(database_url, application="test", statement_timeout_s=10)
    async with made.begin() as connection:
        await connection.execute(text("UPDATE leader SET term = 7"))
    yield made
    await made.dispose()


async def _begin_term(engine: AsyncEngine, term: int) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE leader SET term = :term"), {"term": term})


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


def _prices_log(engine: AsyncEngine) -> GuidanceLog[Prices]:
    return GuidanceLog(engine, "prices", Prices, KEPT)


async def _told(engine: AsyncEngine, second: float) -> Told:
    async with AsyncSession(engine) as session:
        return await told_at(session, "prices", Prices, _at(second))


async def test_every_moment_of_two_terms_is_known(engine: AsyncEngine) -> None:
    """Through wholes and changes; the next leader goes on with the very last of them."""
    draw = random.Random(6)
    told: dict[int, Prices] = {}
    for term in (7, 8):
        await _begin_term(engine, term)
        log = _prices_log(engine)
        before = await log.begin(_at(1000 * term - 1))
        assert before == (told[7999] if told else None)
        for each in range(1000):
            now = {name: round(draw.uniform(0, 90), 2) for name in draw.sample(REGIONS, 3)}
            second = 1000 * term + each
            snapshot = _prices(first_number(term) + each + 1, second, **now)
            told[second] = snapshot
            await log.note(snapshot)
            if each % 7 == 0 or each == 999:
                await log.save(term, _at(second))
    assert await _told(engine, 6998) == UNKNOWN
    assert await _told(engine, 6999.5) == Told(known=True, snapshot=None), "there was none"
    for second in (7000, 7499, 7999, 8000, 8001, 8500, 8999, *draw.sample(sorted(told), 100)):
        assert (await _told(engine, second + 0.5)).snapshot == told[second]
    async with engine.connect() as connection:
        rows = (await connection.execute(text("SELECT whole FROM guidance_past"))).scalars().all()
    assert len(rows) == 2001
    assert 2 < sum(rows) < 500, "most of them are changes"


async def test_learned_rows_come_and_go(engine: AsyncEngine) -> None:
    """In the order of a published snapshot, by which edges name their tables."""
    log = GuidanceLog(engine, "latency", Latency, KEPT)
    await log.begin(_at(0))
    rows: dict[str, tuple[int | None, ...]] = {
        f"10.{n}.9.0/24": (n, None, 2 * n, 7) for n in range(200)
    }
    first = _latency(1, 10, rows)
    more = {**rows, "9.0.0.0/24": (1, 2, 3, 4), "2001:db8::/48": (1, None, None, None)}
    more["10.7.9.0/24"] = (None, None, 5, 6)
    del more["10.8.9.0/24"]
    second = _latency(2, 20, more)
    for each in (first, second):
        await log.note(each)
        await log.save(7, each.created_at)
    async with AsyncSession(engine) as session:
        known = [
            (await told_at(session, "latency", Latency, _at(second))).snapshot
            for second in (15, 25)
        ]
    assert known == [first, second]
    heir = await GuidanceLog(engine, "latency", Latency, KEPT).begin(_at(30))
    assert heir == second
    assert list(heir.prefixes)[:2] == ["9.0.0.0/24", "10.0.9.0/24"]
    assert list(heir.prefixes)[-1] == "2001:db8::/48"


async def test_a_former_leader_cannot_spoil_what_its_successor_tells(engine: AsyncEngine) -> None:
    """What it still writes at its end is of before; once the other leads, it writes nothing."""
    former = _prices_log(engine)
    await former.begin(_at(0))
    for each in (1, 2):
        await former.note(_prices(first_number(7) + each, each, ams=float(each)))
    await former.save(7, _at(2))
    late = _prices(first_number(7) + 3, 3, ams=3.0, fra=3.0)
    await former.note(late)
    heir = _prices_log(engine)
    assert (await heir.begin(_at(4))) == _prices(first_number(7) + 2, 2, ams=2.0)
    await heir.note(_prices(first_number(8) + 1, 5, ams=5.0))
    await _begin_term(engine, 8)
    await heir.save(8, _at(5))
    await _begin_term(engine, 7)  # as if it had looked before the other began
    await former.save(7, _at(5))
    await _begin_term(engine, 8)
    last = _prices(first_number(8) + 2, 6, ams=5.0, sin=6.0)
    await heir.note(last)
    await heir.save(8, _at(6))
    await former.note(_prices(first_number(7) + 4, 7, ams=7.0))
    await former.save(7, _at(7))
    assert former.is_saved, "it gives up"
    assert (await _told(engine, 3.5)).snapshot == late
    assert (await _told(engine, 9)).snapshot == last
    assert (await _prices_log(engine).begin(_at(9))) == last


async def test_what_could_not_be_written_is_not_known(
    engine: AsyncEngine, postgres: Any, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is away rows wait; of too many it is written down that they are lost."""
    log = _prices_log(engine)
    await log.begin(_at(0))
    await log.note(_prices(1, 1, ams=1.0))
    await log.save(7, _at(1))
    name = make_url(database_url).database
    admin = await asyncpg.connect(postgres.url_of("postgres"))
    try:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
        )
        await log.note(_prices(2, 2, ams=2.0))
        with pytest.raises(Exception, match=r".+"):
            await log.save(7, _at(2))
        assert not log.is_saved
    finally:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await admin.close()
    await log.save(7, _at(3))
    assert log.is_saved
    assert (await _told(engine, 2)).snapshot == _prices(2, 2, ams=2.0)
    await log.note(_prices(3, 3, ams=3.0))
    monkeypatch.setattr("firsthop_controlplane.store.guidance.MOST_PENDING", 10)
    await log.note(_prices(4, 4, ams=4.0))
    monkeypatch.undo()
    await log.note(_prices(5, 5, ams=5.0))
    await log.save(7, _at(5))
    assert (await _told(engine, 2.5)).snapshot == _prices(2, 2, ams=2.0)
    assert await _told(engine, 3) == UNKNOWN
    assert await _told(engine, 4.5) == UNKNOWN
    assert (await _told(engine, 5)).snapshot == _prices(5, 5, ams=5.0)


async def test_what_is_too_old_is_forgotten(engine: AsyncEngine) -> None:
    """And what is needed to know the first moment that is kept stays."""
    log = _prices_log(engine)
    await log.begin(_at(0))
    told = [_prices(n, n, ams=float(n), fra=1.0) for n in range(1, 400)]
    for each in told:
        await log.note(each)
    await log.save(7, _at(400))
    async with AsyncSession(engine) as session, session.begin():
        before = len((await session.execute(text("SELECT 1 FROM guidance_past"))).all())
        await forget(session, "prices", _at(300))
        await forget(session, "latency", _at(300))
        after = len((await session.execute(text("SELECT 1 FROM guidance_past"))).all())
    assert 100 <= after < before == 400
    assert [(await _told(engine, n)).snapshot for n in range(300, 400)] == told[299:]
    assert await _told(engine, 1) == UNKNOWN


async def test_the_last_word_of_an_older_release_is_kept(own_server: EmbeddedPostgres) -> None:
    """Migrated from the table that held no more than that; a damaged row is left behind."""
    engine = create_engine(own_server.url, application="test", statement_timeout_s=30)

    def upgrade(connection: Connection, revision: str) -> None:
        command.upgrade(alembic_config(connection), revision)

    async with engine.connect() as connection:
        await connection.run_sync(upgrade, "0009")
    prices = _prices(7_000_000_001, 5, ams=4.0)
    content = zlib.compress(payload_of(prices).encode())
    assert json.loads(zlib.decompress(content))["number"] == prices.number
    async with engine.begin() as connection:
        for kind, each in (("prices", content), ("latency", b"junk")):
            await connection.execute(
                text("INSERT INTO steering_snapshot VALUES (:kind, :at, :content)"),
                {"kind": kind, "at": _at(5), "content": each},
            )
    async with engine.connect() as connection:
        await connection.run_sync(upgrade, "head")
    assert (await _prices_log(engine).begin(_at(9))) == prices
    assert (await GuidanceLog(engine, "latency", Latency, KEPT).begin(_at(9))) is None
    await engine.dispose()
