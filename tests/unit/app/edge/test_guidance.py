"""Prices and learned latency at an edge: kept, in force, and never in the way of who is up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from firsthop.edge.compiling.in_force import InForce, WantedInputs
from firsthop.edge.compiling.rebuild import Rebuilder
from firsthop.edge.compiling.tables import TableStore
from firsthop.edge.following.feed_source import FeedSource
from firsthop.edge.following.follower import FeedFollower
from firsthop.edge.following.geo_source import GeoTableSource
from firsthop.edge.following.snapshot_store import SnapshotStore
from firsthop.edge.workers.allocator_worker import _States
from firsthop.edge.workers.sockets import ListeningSockets
from firsthop.edge.workers.worker_pool import EdgeWorkerPool
from firsthop_allocator.allocations.state import Holder
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.compile.table import AnswerTable
from firsthop_steering.feed.guidance import NO_GUIDANCE, Guidance
from firsthop_steering.feed.snapshot import Latency, Plan, Prices, Status, seal
from support.edge_settings import KEY, feed_settings
from support.standin import keyset
from support.worlds import NOW, europe_and_america, plan_of, prices_of, status_of

REGIONS = [
    {"id": "fra", "latitude": 50, "longitude": 8},
    {"id": "iad", "latitude": 39, "longitude": -77},
]
DOCUMENT = {
    "regions": REGIONS,
    "relays": [
        {"id": "fra-1", "region": "fra", "ipv4": "192.0.2.1"},
        {"id": "iad-1", "region": "iad", "ipv4": "192.0.2.2"},
    ],
    "services": [{"id": "s", "name": "s.edge.example."}],
}
BERLIN = 10 << 24


def latency_of(number: int = 9, rtt: int = 3000, **fields: Any) -> Latency:
    """Berlin's first /24 is `rtt` tenths of a millisecond from Frankfurt."""
    given: dict[str, Any] = {"lineage": "test", "created_at": NOW, **fields}
    rows = {"10.0.0.0/24": (rtt, 900)}
    bases = {"regions": ("fra", "iad"), "base_ms": (4.0, 4.0)}
    return Latency(number=number, prefixes=rows, **bases, **given)


def region(path: Path) -> str:
    """Where Berlin's first /24 goes by this table."""
    table = AnswerTable.open(path).services[0]
    return table.answers[table.settle(4, BERLIN)].region


def test_the_snapshot_store_keeps_guidance(tmp_path: Path) -> None:
    """A new store over the same folder steers by the same prices and round trips."""
    store = SnapshotStore(tmp_path, KEY.public_key(), any_age=True)
    prices, latency = prices_of(fra=7.5), latency_of()
    for snapshot in (plan_of(DOCUMENT), prices, latency):
        assert store.accept(seal(snapshot, KEY))
    assert store.accept(seal(latency_of(number=8), KEY)) is None
    again = SnapshotStore(tmp_path, KEY.public_key(), any_age=True)
    again.load()
    assert again.guidance == Guidance(prices, latency)
    assert again.numbers() == {"plan": "1", "prices": "5", "latency": "9", "lineage": "test"}


def fed(folder: Path) -> tuple[SnapshotStore, FeedSource]:
    """A feed's source that is given its snapshots through the store."""
    store = SnapshotStore(folder, KEY.public_key(), any_age=True)
    return store, FeedSource(store, FeedFollower(["http://127.0.0.1:1"], "t", store, print))


def geo_source() -> GeoTableSource:
    """One whose table is loaded."""
    geo = GeoTableSource(None, None, cache=Path())
    geo.table = europe_and_america()
    return geo


def test_guidance_of_another_store_does_not_count(tmp_path: Path) -> None:
    """Its regions only share their names with ours; the feed is asked for ours."""
    store, source = fed(tmp_path)
    wanted = WantedInputs(source, geo_source(), lambda: None)
    store.accept(seal(latency_of(lineage="former"), KEY))
    store.accept(seal(prices_of(fra=7.5), KEY))
    assert wanted.guidance() == NO_GUIDANCE
    store.accept(seal(plan_of(DOCUMENT), KEY))
    assert wanted.guidance() == Guidance(prices_of(fra=7.5))
    assert "latency" not in store.numbers()


def test_prices_of_its_own_stand_for_those_received(tmp_path: Path) -> None:
    """While an edge is isolated; beside the round trips that it received last."""
    store, source = fed(tmp_path)
    own: list[Prices | None] = [prices_of(iad=3.0)]
    wanted = WantedInputs(source, geo_source(), lambda: own[0])
    for snapshot in (plan_of(DOCUMENT), prices_of(fra=7.5), latency_of()):
        store.accept(seal(snapshot, KEY))
    assert wanted.guidance() == Guidance(prices_of(iad=3.0), latency_of())
    own[0] = None
    assert wanted.guidance() == Guidance(prices_of(fra=7.5), latency_of())


def test_tables_are_named_by_guidance_too(tmp_path: Path) -> None:
    """Each kind makes another table, which says by what it was made; without any nothing is new."""
    store, geo = TableStore(tmp_path), europe_and_america()
    plan, status = plan_of(DOCUMENT), status_of()

    def build(*guidance: Guidance) -> Path:
        return store.build(plan, status, geo, NOW, *guidance)

    made = {
        name: build(*each)
        for name, each in {
            "plain": [],
            "none": [NO_GUIDANCE],
            "prices": [Guidance(prices_of(fra=500.0))],
            "latency": [Guidance(latency=latency_of())],
            "other": [Guidance(latency=latency_of(rtt=1))],
        }.items()
    }
    assert made["plain"] == made["none"]
    assert len({*made.values()}) == 4
    assert {name: region(path) for name, path in made.items() if path.exists()} == {
        "plain": "fra", "none": "fra", "prices": "iad", "latency": "iad", "other": "fra",
    }  # fmt: skip
    assert AnswerTable.open(made["plain"]).guidance == {}
    assert AnswerTable.open(made["prices"]).guidance == {"prices": 5}
    assert AnswerTable.open(made["latency"]).guidance == {"latency": 9}
    again = TableStore(tmp_path).build(plan, status, geo, NOW, Guidance(latency=latency_of()))
    assert again == made["latency"], "found, though everything is another object"


Made = tuple[int, int, int, int]
"""Numbers of plan, status, prices and latency (0: none) of a table."""


class Rebuilding:
    """A rebuild loop whose tables are recorded.

    Plans in `bad_plans` and latency numbers in `failing` cannot be compiled.
    """

    def __init__(self, folder: Path) -> None:
        self.store, self.source = fed(folder)
        self.in_force, self.changed = InForce(), asyncio.Event()
        self.told: asyncio.Queue[str] = asyncio.Queue()
        pool = SimpleNamespace(
            send_snapshots=lambda *_, **__: None,
            send_table=lambda path, _, **numbers: self.told.put_nowait(path.stem),
        )
        tables = SimpleNamespace(build=self._build, has_mapped=self._has_mapped, disk_error="")
        self.rebuilder = Rebuilder(
            WantedInputs(self.source, geo_source(), lambda: None),
            cast("TableStore", tables),
            cast("EdgeWorkerPool", pool),
            self.in_force,
            changed=self.changed,
            send_options=lambda: None,
        )
        self.bad_plans: set[int] = set()
        self.failing: set[int] = set()
        self.held: set[int] = set()
        """Latencies whose compilation waits for `go`, after its map is there."""
        self.mapped: set[int] = {0}
        self.reached, self.go = asyncio.Event(), threading.Event()
        self._loop = asyncio.get_running_loop()

    def _has_mapped(self, _: Plan, __: GeoTable, latency: Latency | None) -> bool:
        return (latency.number if latency else 0) in self.mapped

    def _build(
        self,
        plan: Plan,
        status: Status,
        _: GeoTable,
        __: datetime,
        guidance: Guidance,
        *,
        checkpoint: Callable[[], None],
    ) -> Path:
        prices, latency = guidance.prices, guidance.latency
        number = latency.number if latency else 0
        if number in self.failing or plan.number in self.bad_plans:
            raise ValueError("it cannot be had")
        self.mapped.add(number)
        if number in self.held:
            self.held.discard(number)
            self._loop.call_soon_threadsafe(self.reached.set)
            assert self.go.wait(120)
        checkpoint()
        return Path(f"{plan.number} {status.number} {prices.number if prices else 0} {number}.t")

    def change(self, *snapshots: Prices | Latency | Plan | Status) -> None:
        """As the follower does."""
        for each in snapshots:
            assert self.store.accept(seal(each, KEY)) is not None
        self.changed.set()

    async def next(self) -> str:
        """The next table that workers are told of."""
        async with asyncio.timeout(120):
            return await self.told.get()


@pytest.fixture
async def rebuilding(tmp_path: Path) -> AsyncIterator[Rebuilding]:
    made = Rebuilding(tmp_path)
    task = asyncio.create_task(made.rebuilder.run())
    yield made
    made.go.set()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_start_is_by_all_that_is_kept(rebuilding: Rebuilding) -> None:
    """So that the table on disk is found; and what is in force is told."""
    rebuilding.change(plan_of(DOCUMENT), status_of(1), prices_of(fra=1.0), latency_of(2))
    assert await rebuilding.next() == "1 1 5 2"
    assert rebuilding.in_force.snapshots == (plan_of(DOCUMENT), status_of(1))
    assert rebuilding.in_force.guidance == Guidance(prices_of(fra=1.0), latency_of(2))


async def test_a_status_goes_before_round_trips_that_come_with_it(rebuilding: Rebuilding) -> None:
    """Laying them out takes longer than a table; then they follow at once."""
    rebuilding.change(plan_of(DOCUMENT), status_of(1))
    assert await rebuilding.next() == "1 1 0 0"
    rebuilding.change(status_of(2), latency_of(2))
    assert await rebuilding.next() == "1 2 0 0"
    assert await rebuilding.next() == "1 2 0 2"


async def test_a_table_for_guidance_alone_gives_way_to_a_status(rebuilding: Rebuilding) -> None:
    """It is left in the middle; the table of the status has the new round trips by then."""
    rebuilding.change(plan_of(DOCUMENT), status_of(1))
    assert await rebuilding.next() == "1 1 0 0"
    rebuilding.held.add(2)
    rebuilding.change(latency_of(2))
    async with asyncio.timeout(120):
        await rebuilding.reached.wait()
    rebuilding.change(status_of(2))
    rebuilding.go.set()
    assert await rebuilding.next() == "1 2 0 2"


async def test_guidance_that_cannot_be_had_keeps_no_status_waiting(rebuilding: Rebuilding) -> None:
    """The former stays in use, and it is said that the newest is not."""
    rebuilding.failing.add(3)
    rebuilding.change(plan_of(DOCUMENT), status_of(1), latency_of(2))
    assert await rebuilding.next() == "1 1 0 2"
    rebuilding.change(latency_of(3), status_of(2))
    assert await rebuilding.next() == "1 2 0 2"
    rebuilding.change(status_of(3))
    while (table := await rebuilding.next()) != "1 3 0 2":
        assert table == "1 2 0 2"
    assert "it cannot be had" in rebuilding.in_force.error


async def test_who_is_up_does_not_wait_for_a_plan_that_cannot_be_had(
    rebuilding: Rebuilding,
) -> None:
    """The newest status goes with the last plan that could be compiled; the reason is kept."""
    rebuilding.bad_plans.add(2)
    rebuilding.change(plan_of(DOCUMENT), status_of(1))
    assert await rebuilding.next() == "1 1 0 0"
    rebuilding.change(plan_of(DOCUMENT, number=2))
    assert await rebuilding.next() == "1 1 0 0"
    rebuilding.change(status_of(2))
    while (table := await rebuilding.next()) != "1 2 0 0":
        assert table == "1 1 0 0"
    assert "it cannot be had" in rebuilding.in_force.error
    rebuilding.change(plan_of(DOCUMENT, number=3), status_of(3))
    while (table := await rebuilding.next()) != "3 3 0 0":
        assert table == "1 2 0 0"
    assert rebuilding.in_force.error == ""


async def test_an_edge_starts_without_guidance_that_cannot_be_had(rebuilding: Rebuilding) -> None:
    """By distance, which is better than not at all."""
    rebuilding.failing.add(3)
    rebuilding.change(plan_of(DOCUMENT), status_of(1), latency_of(3))
    assert await rebuilding.next() == "1 1 0 0"


def test_the_allocator_is_sent_guidance_once(tmp_path: Path) -> None:
    """Not again with every status: round trips may be of megabytes."""
    pool = EdgeWorkerPool(feed_settings(tmp_path), ListeningSockets(), on_line=lambda *_: None)
    told: list[dict[str, Any]] = []
    pool._allocator = [SimpleNamespace(send=told.append)]  # type: ignore[list-item]
    geo, plan = europe_and_america(), plan_of(DOCUMENT)
    for number, guidance in enumerate(
        (NO_GUIDANCE, Guidance(prices_of(fra=1.0)), Guidance(prices_of(fra=1.0)), NO_GUIDANCE)
    ):
        same = Guidance(pool._guidance.prices) if number == 2 else guidance
        pool.send_snapshots(plan, status_of(number), None, geo=geo, guidance=same)
    assert [each.get("prices", "absent") is not None for each in told] == [True, True, True, False]
    assert ["prices" in each for each in told] == [False, True, False, True]


async def test_the_allocator_steers_by_guidance() -> None:
    """A status is in force while new round trips are laid out, and then these are too."""
    holder, begin = Holder(), asyncio.Event()
    said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    pipe: Any = SimpleNamespace(send=lambda **news: said.put_nowait(news))
    states = _States(pipe, holder, begin, None)
    news = {
        "plan": plan_of(DOCUMENT).model_dump_json(),
        "status": status_of(1).model_dump_json(),
        "keys": keyset().model_dump_json(),
        "geodata": str(europe_and_america().path),
    }

    def chosen() -> str:
        assert holder.state is not None
        steering = holder.state.steering
        geo_client = steering.topology.client(ip_address(BERLIN))
        site = steering.decide(steering.topology.services["s"], geo_client).site
        return site.id if site else ""

    await states.take(news)
    assert (chosen(), begin.is_set()) == ("fra", True)
    await states.take({**news, "prices": prices_of(fra=500.0).model_dump_json()})
    assert chosen() == "iad"
    await states.take({**news, "prices": None})
    assert chosen() == "fra"
    status = status_of(2).model_dump_json()
    await states.take({**news, "status": status, "latency": latency_of().model_dump_json()})
    assert holder.state is not None
    assert holder.state.steering.status.number == 2
    async with asyncio.timeout(120):
        while chosen() != "iad":
            assert (await said.get())["failure"] == ""
    await states.take({**news, "plan": plan_of(DOCUMENT, number=2).model_dump_json()})
    assert chosen() == "iad", "a new plan is laid out with what is learned"
    states.close()
