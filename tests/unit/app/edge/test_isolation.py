"""An edge without a control plane plans its own prices, by its answers and its relays' load."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from firsthop.edge.following.source import SnapshotSource
from firsthop.edge.isolation.detector import (
    RETURNED_S,
    SILENT_S,
    FeedSilence,
    IsolationDetector,
)
from firsthop.edge.isolation.isolated_planner import LISTEN_S, IsolatedPlanner, PlanningInputs
from firsthop.edge.isolation.relay_loads import LoadWatch, ReportedLoad
from firsthop.edge.reporting.demand import DemandBuffer, Totals
from firsthop_steering.feed.snapshot import Prices
from firsthop_steering.planner.planner import PLAN_S
from support.worlds import europe_and_america, plan_of, prices_of, status_of

GEO = europe_and_america()
BERLIN, NEW_YORK = "10.1.1.0/24", "20.1.1.0/24"
REGIONS: list[dict[str, Any]] = [
    {"id": "fra", "latitude": 50.11, "longitude": 8.68},
    {"id": "nyc", "latitude": 40.71, "longitude": -74.01},
]
RELAYS = [
    {"id": "fra-1", "region": "fra", "ipv4": "192.0.2.1", "capacity": 1000},
    {"id": "nyc-1", "region": "nyc", "ipv4": "192.0.2.2", "capacity": 900},
]
SERVICE = {"id": "relay", "name": "relay.edge.example.", "ttl": 30}


class Rig:
    """A planner, its clock, and what surrounds it."""

    def __init__(self, *, capacity: bool = True) -> None:
        relays = RELAYS if capacity else [{**each, "capacity": None} for each in RELAYS]
        document = {"regions": REGIONS, "relays": relays, "services": [SERVICE]}
        self.plan = plan_of(document)
        self.now = 1000.0
        self.fed = True
        self.received: Prices | None = None
        self.heard: dict[str, int] = {}
        self.asking = False
        self.changes = 0
        self.board = DemandBuffer()
        self._answers = {"fra": 0, "nyc": 0}
        self.planner = IsolatedPlanner(
            self.board, self._totals, self._watch(), clock=lambda: self.now, on_change=self._changed
        )

    def _watch(self) -> LoadWatch:
        def loads() -> dict[str, ReportedLoad]:
            known = self.heard if self.asking else {}
            return {
                relay: ReportedLoad(each, draining=False, at=0.0) for relay, each in known.items()
            }

        def ask(*, now: bool) -> None:
            self.asking = now

        return cast(
            "LoadWatch",
            SimpleNamespace(start=lambda: ask(now=True), stop=lambda: ask(now=False), loads=loads),
        )

    def _changed(self) -> None:
        self.changes += 1

    def _totals(self) -> Totals:
        return {
            "firsthop_region_answers_total": {
                (("region", region), ("service", "relay")): float(count)
                for region, count in self._answers.items()
            }
        }

    async def seconds(self, count: float, *, asked: bool = True) -> None:
        """Ten answers a second to Berlin, four to New York."""
        for _ in range(int(count)):
            if asked:
                for region, prefix, answers in (("fra", BERLIN, 10), ("nyc", NEW_YORK, 4)):
                    self._answers[region] += answers
                    self.board.note("dns", [("relay", region, prefix, 1)])
            self.now += 1
            await self.planner.turn(
                PlanningInputs(
                    self.plan, status_of(fra_1="up", nyc_1="up"), GEO, None, None,
                    self.received, fed=self.fed,
                )
            )  # fmt: skip


def test_an_edge_is_isolated_after_a_minute_without_feed_until_fed_for_a_while() -> None:
    """A gap, or a feed that comes and goes, is neither."""
    detector, now = IsolationDetector(0.0), 0.0

    def look(*, fed: bool, seconds: float) -> list[bool]:
        nonlocal now
        found = []
        for _ in range(int(seconds)):
            now += 1
            detector.look(fed=fed, now=now)
            found.append(detector.isolated)
        return found

    assert not any(look(fed=True, seconds=600) + look(fed=False, seconds=SILENT_S - 1))
    assert not any(look(fed=True, seconds=1) + look(fed=False, seconds=SILENT_S - 1))
    assert all(look(fed=False, seconds=3600)[1:])
    assert all(look(fed=True, seconds=RETURNED_S - 1) + look(fed=False, seconds=2))
    assert all(look(fed=True, seconds=RETURNED_S - 1))
    assert not any(look(fed=True, seconds=600)[1:])


def test_answers_are_stale_when_the_control_plane_is_silent() -> None:
    """After a minute without it, until it is connected again; a document is never stale."""
    source, now = SimpleNamespace(feed=object(), connected_to=""), 0.0
    silence = FeedSilence(cast("SnapshotSource", source), clock=lambda: now)
    found = []
    for seconds, connected_to in ((SILENT_S - 5, ""), (10, ""), (0, "http://a"), (1, "")):
        now += seconds
        source.connected_to = connected_to
        found.append(silence.stale())
    assert found == [False, True, False, False]
    source.feed = None
    now += 10 * SILENT_S
    assert not silence.stale()


async def test_while_isolated_a_full_region_has_a_price_and_after_it_none() -> None:
    """What was received holds before and after."""
    rig = Rig()
    rig.heard = {"fra-1": 1500, "nyc-1": 400}
    await rig.seconds(120)
    rig.fed = False
    await rig.seconds(SILENT_S - 1)
    assert (rig.planner.isolated, rig.asking, rig.planner.prices) == (False, False, None)
    await rig.seconds(1 + LISTEN_S + PLAN_S)
    assert (rig.planner.isolated, rig.asking) == (True, True)
    assert rig.planner.prices is not None
    assert rig.planner.prices.now["fra"] > 0
    assert rig.changes > 0
    rig.fed = True
    await rig.seconds(RETURNED_S + 1)
    assert (rig.planner.isolated, rig.asking, rig.planner.prices) == (False, False, None)


async def test_own_prices_go_on_from_those_received() -> None:
    """A price that is not needed any more falls little by little."""
    rig = Rig()
    rig.received = prices_of(nyc=40.0)
    rig.heard = {"fra-1": 780, "nyc-1": 120}
    await rig.seconds(120)
    rig.fed = False
    await rig.seconds(SILENT_S + LISTEN_S + 1)
    assert rig.planner.prices is not None
    assert rig.planner.prices.number == rig.received.number
    assert 34 <= rig.planner.prices.now["nyc"] < 40
    await rig.seconds(600)
    assert rig.planner.prices.now.get("nyc", 0.0) <= 3.0, "what is left does little harm"


@pytest.mark.parametrize(
    "case", ["no relay says anything", "hardly any does", "nobody asks", "no capacity"]
)
async def test_where_too_little_is_known_what_was_received_holds(case: str) -> None:
    """Its own answers alone say nothing of how many there are."""
    rig = Rig(capacity=case != "no capacity")
    rig.received = prices_of(nyc=40.0) if case != "no capacity" else None
    rig.heard = {"fra-1": 1500, "nyc-1": 400}
    if case in ("no relay says anything", "hardly any does"):
        rig.heard = {} if case == "no relay says anything" else {"nyc-1": 0}
    rig.fed = False
    await rig.seconds(600, asked=case != "nobody asks")
    assert rig.planner.isolated
    assert rig.planner.prices is None
    assert rig.changes == 0
