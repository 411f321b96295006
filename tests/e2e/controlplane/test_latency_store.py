"""Learned round trips in the store: what the next leader finds, and what a former one may write."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from firsthop_controlplane.feed.feed import Feed
from firsthop_controlplane.leader.leadership import Leader as Leading
from firsthop_controlplane.leader.leadership import Lease
from firsthop_controlplane.leader.replica import ReplicaLeadership
from firsthop_controlplane.learning.intake import batch_name
from firsthop_controlplane.learning.loop import LatencyLoop
from firsthop_controlplane.store.engine import create_engine
from firsthop_geodata.mmdb import open_geodata
from firsthop_steering.feed.snapshot import Latency, Plan
from firsthop_steering.plan.document import Document
from firsthop_steering.planner.groups import NOBODY
from firsthop_steering.rtt.samples import REGION_BITS, Samples
from support.geodata import compiled_geodata
from support.old_ledger import part_of_means
from support.worlds import TWO_REGIONS

pytestmark = pytest.mark.database


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The store of this test, whose leader has term 7."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE leader SET term = 7")
    await connection.close()
    made = create_engine(database_url, application="test", statement_timeout_s=10)
    yield made
    await made.dispose()


def leading(term: int) -> ReplicaLeadership:
    """A replica that leads for as long as the test runs."""
    leadership = ReplicaLeadership(url="", clock=lambda: 0.0)
    leadership.state = Leading(Lease(term, "this"), asked_at=0.0, renewed_at=0.0)
    return leadership


class Leader:
    """The loop of one leader, turned by hand."""

    def __init__(self, engine: AsyncEngine, geo: Any, term: int) -> None:
        self.feed = Feed(Ed25519PrivateKey.generate())
        self.feed.publish(
            Plan(
                number=1,
                lineage="store",
                created_at=datetime.now(UTC),
                document=Document.model_validate(TWO_REGIONS),
            )
        )
        self.loop = LatencyLoop(
            engine,
            self.feed,
            geo,
            leading(term),
            lambda: NOBODY,
            now=lambda: datetime.now(UTC),
            clock=time.monotonic,
            kept=timedelta(days=7),
        )
        self.loop.lead(term)

    @property
    def latency(self) -> Latency | None:
        found = self.feed.present("latency")
        assert found is None or isinstance(found, Latency)
        return found

    def bring(self, name: str, *rows: tuple[int, str, float]) -> None:
        """A batch of prefix, region, ms."""
        memory = self.loop.memory
        assert memory is not None
        present = {"fra", "nyc"}
        memory.intake.take(
            batch_name("token", name),
            Samples(
                np.array([prefix for prefix, _, _ in rows], dtype=np.uint64),
                np.array([memory.numbers.number(region, present) or 0 for _, region, _ in rows]),
                np.ones(len(rows), dtype=np.int64),
                np.array([rtt for _, _, rtt in rows]),
            ),
            time.time(),
        )


def _prefix(text: str) -> int:
    return int(ip_address(text)) >> 8


async def test_the_next_leader_publishes_what_the_one_before_did(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    """The very same snapshot at once; and one that learns of the same samples has no news."""
    geo = open_geodata(None, None, compiled_geodata())
    first = Leader(engine, geo, 7)
    await first.loop.turn()
    assert first.latency is None, "nothing is known, so edges go by the map"
    rows = [(_prefix(f"8.{n}.1.0"), "nyc" if n % 2 else "fra", 20.0 + n) for n in range(40)]
    first.bring("batch-1", *rows, *[(prefix, "fra", 90.0) for prefix, _, _ in rows])
    await first.loop.turn()
    assert first.latency is not None
    assert first.latency.number == 7_000_000_001
    assert first.latency.regions == ("fra", "nyc")
    assert len(first.latency.prefixes) == 40
    await first.loop.save()
    assert await first.loop.history.save()
    second = Leader(engine, geo, 7)
    await second.loop.turn()
    assert second.latency == first.latency
    assert second.loop.learned is not None, "it learned anew, and had nothing to say"
    memory = second.loop.memory
    assert memory is not None
    assert memory.intake.is_repeated(batch_name("token", "batch-1"))


async def test_a_former_leader_writes_nothing(engine: AsyncEngine, tmp_path: Path) -> None:
    """What it knows is not mixed with what its successor learns."""
    geo = open_geodata(None, None, compiled_geodata())
    former = Leader(engine, geo, 6)
    await former.loop.turn()
    former.bring("batch-1", (_prefix("8.8.8.0"), "fra", 20.0))
    await former.loop.turn()
    await former.loop.save()
    second = Leader(engine, geo, 7)
    await second.loop.turn()
    assert second.loop.memory is not None
    assert len(second.loop.memory.model.ledger) == 0
    assert second.latency is None


async def test_what_cannot_be_read_is_written_anew(
    engine: AsyncEngine, tmp_path: Path, database_url: str
) -> None:
    """A damaged row does not keep a leader from learning."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("INSERT INTO rtt_part (written_at, content) VALUES (now(), 'junk')")
    await connection.execute("INSERT INTO guidance_past VALUES ('latency', 1, now(), true, 'junk')")
    await connection.close()
    geo = open_geodata(None, None, compiled_geodata())
    leader = Leader(engine, geo, 7)
    await leader.loop.turn()
    leader.bring("batch-1", (_prefix("8.8.8.0"), "fra", 20.0))
    await leader.loop.turn()
    await leader.loop.save()
    assert await leader.loop.history.save()
    assert leader.latency is not None
    second = Leader(engine, geo, 7)
    await second.loop.turn()
    assert second.latency == leader.latency
    assert second.loop.memory is not None
    assert len(second.loop.memory.model.ledger) == 1


async def test_old_rows_of_measured_hosts_are_read_and_dropped(
    engine: AsyncEngine, tmp_path: Path, database_url: str
) -> None:
    """What an earlier version stored under a prefix's number with bit 49 set, beside clients."""
    prefix = _prefix("8.8.8.0")
    now = int(time.time())
    means = [
        (prefix << REGION_BITS, 3, 20.0, now),
        ((prefix | 1 << 49) << REGION_BITS, 1, 90.0, now),
    ]
    content = part_of_means(("fra", "nyc"), *means, batches={})
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO rtt_part (written_at, content) VALUES (now(), $1)", content
    )
    await connection.close()
    leader = Leader(engine, open_geodata(None, None, compiled_geodata()), 7)
    await leader.loop.turn()
    assert leader.loop.memory is not None
    assert leader.loop.learned is not None
    assert leader.loop.learned.prefixes.tolist() == [prefix]
    assert leader.loop.learned.entries.mean_ms.tolist() == pytest.approx([20.0])


async def test_samples_are_learned_from_while_the_database_is_away(
    engine: AsyncEngine, tmp_path: Path, postgres: Any, database_url: str
) -> None:
    """And saved when it is back."""
    geo = open_geodata(None, None, compiled_geodata())
    leader = Leader(engine, geo, 7)
    await leader.loop.turn()
    name = make_url(database_url).database
    admin = await asyncpg.connect(postgres.url_of("postgres"))
    try:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
        )
        leader.bring("batch-1", (_prefix("8.8.8.0"), "fra", 20.0))
        await leader.loop.turn()
        await leader.loop.save()
        assert leader.latency is not None
        assert leader.loop.save_error
    finally:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await admin.close()
    await leader.loop.save()
    assert not leader.loop.save_error
    second = Leader(engine, geo, 7)
    await second.loop.turn()
    assert second.loop.memory is not None
    assert len(second.loop.memory.model.ledger) == 1
