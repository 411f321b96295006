"""Where clients are to look, when edges are told, and that it finds what the map has wrong."""

from __future__ import annotations

import random
from ipaddress import ip_address
from typing import Any

import numpy as np
import pytest

from firsthop_allocator.allocations.allocation import (
    ENTROPY_LENGTH,
    Allocation,
    AllocationRequest,
    allocate,
)
from firsthop_allocator.allocations.state import AllocatorState
from firsthop_allocator.http.callers import RequestClient
from firsthop_allocator.http.counts import AllocatorCounters
from firsthop_controlplane.learning import exploring
from firsthop_controlplane.learning.exploring import (
    REST_ROUNDS,
    Exploring,
    exploration_targets,
    open_regions,
)
from firsthop_controlplane.learning.intake import BATCHES_KEPT_S
from firsthop_controlplane.learning.memory import Memory
from firsthop_controlplane.learning.publication import Publication
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.placement import Ground
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.decision.topology import Topology
from firsthop_steering.feed.exploration_targets import ExplorationTarget, ExplorationTargets
from firsthop_steering.feed.snapshot import Latency, Prices, RelayStatus, Status
from firsthop_steering.planner.demand import Demand, DemandClients
from firsthop_steering.planner.groups import CELL, NOBODY, ClientGroups, Wanted, wanted_of
from firsthop_steering.rtt.exploration import CANDIDATES, MAX_GROUP_SHARE, SHARE
from firsthop_steering.rtt.samples import Samples, parse_prefix
from support.allocator_world import KEYS, MEDIA
from support.worlds import NOW, europe_and_america, plan_of, status_of

START = 1_800_000_000
REGIONS: list[dict[str, Any]] = [
    {"id": "ams", "latitude": 52.37, "longitude": 4.9},
    {"id": "fra", "latitude": 50.11, "longitude": 8.68},
    {"id": "lon", "latitude": 51.5, "longitude": -0.12},
    {"id": "mil", "latitude": 45.46, "longitude": 9.19},
    {"id": "nyc", "latitude": 40.71, "longitude": -74.01},
    {"id": "sto", "latitude": 59.33, "longitude": 18.06},
]
RELAYS: list[dict[str, Any]] = [
    {"id": f"{each['id']}-1", "region": each["id"], "ipv4": f"192.0.2.{n}", "capacity": 1000}
    for n, each in enumerate(REGIONS)
]
MORE: list[dict[str, Any]] = [
    {"id": f"{each['id'][:-1]}{m}", "region": each["region"], "ipv4": f"192.0.2.{n + m * 20}"}
    for n, each in enumerate(RELAYS)
    for m in (2, 3)
]
"""So that a client's usual three relays are all of its first region."""
DOCUMENT: dict[str, Any] = {
    "regions": REGIONS,
    "relays": RELAYS,
    "transceiver_regions": MEDIA,
    "transceivers": [{"id": "eu-t", "region": "eu", "host": "10.0.0.1", "port": 4000}],
    "services": [{"id": "relay", "name": "relay.edge.example."}],
}
GEO = europe_and_america()
PLAN = plan_of(DOCUMENT)
GROUND = Ground.of(PLAN, GEO)
EVERY = np.ones(len(REGIONS), dtype=np.bool_)
BERLIN, NEW_YORK = "52.5000,13.4000", "40.7000,-74.0000"
Row = tuple[str, str, float]


def observe(memory: Memory, name: str, rows: list[Row]) -> None:
    """Prefix, region, ms: as if they came now."""
    numbers = [memory.numbers.number(region, GROUND.regions) or 0 for _, region, _ in rows]
    samples = Samples(
        np.array([parse_prefix(prefix) for prefix, _, _ in rows], dtype=np.uint64),
        np.array(numbers, dtype=np.int64),
        np.ones(len(rows), dtype=np.int64),
        np.array([rtt for _, _, rtt in rows]),
    )
    memory.intake.take(name, samples, START)
    memory.observe(memory.intake.drain(START), now=START, kept_s=BATCHES_KEPT_S)


def found(
    wanted: Wanted = NOBODY, rows: list[Row] | None = None, times: int = 1, **given: Any
) -> ExplorationTargets:
    """What is promised after so many samples of each row."""
    memory, publication = Memory(), Publication()
    for number in range(times if rows else 0):
        observe(memory, f"batch-{number}", rows or [])
    learned = memory.learn(GROUND)
    publication.round(learned, GROUND)
    fields = {"is_open": EVERY, "share": SHARE, **given}
    return exploration_targets(
        learned, GROUND, publication, wanted, fields["is_open"], fields["share"]
    )


def cells(*counts: float) -> Wanted:
    """So many clients in Berlin, in New York, …"""
    groups = np.array([CELL + n for n in range(len(counts))], dtype=np.uint64)
    return wanted_of(DemandClients(("relay",) * len(counts), groups, np.array(counts)))


def spent(promised: ExplorationTargets, wanted: dict[str, float]) -> float:
    """The share of these clients that explores."""
    every = {**promised.prefixes, **promised.places}
    return sum(each.rate * wanted[name] for name, each in every.items()) / sum(wanted.values())


def test_where_nothing_is_known_places_look_round_the_nearest() -> None:
    """By demand, within the budget, and not at what can never be better."""
    promised = found(cells(30.0, 70.0))
    assert promised.share == SHARE
    assert promised.prefixes == {}
    berlin = promised.places[BERLIN]
    assert set(berlin.gain_ms) <= {"ams", "lon", "mil", "sto"}
    assert all(gain > 0 for gain in berlin.gain_ms.values())
    assert list(berlin.gain_ms.values()) == sorted(berlin.gain_ms.values(), reverse=True)
    assert spent(promised, {BERLIN: 30.0, NEW_YORK: 70.0}) <= SHARE + 1e-4


def test_nobody_looks_where_there_is_nobody_or_nothing() -> None:
    """No demand, no samples; a share of 0; no region open; people whom nobody can place."""
    nothing = ExplorationTargets()
    assert found() == nothing
    assert found(cells(1.0), share=0.0) == nothing
    assert found(cells(1.0), is_open=~EVERY) == nothing
    assert found(cells(0.0, 0.0, 0.0, 0.0, 5.0)) == nothing


def test_prefixes_with_a_row_have_a_promise_of_their_own() -> None:
    """By demand, where there is some; else by samples."""
    rows = [("10.1.1.0/24", "fra", 60.0), ("10.1.2.0/24", "fra", 60.0)]
    sampled = found(rows=[*rows, *rows[:1] * 3], times=5)
    assert sampled.prefixes.keys() == {"10.1.1.0/24", "10.1.2.0/24"}
    assert sampled.places == {}
    groups = np.array([parse_prefix("10.1.2.0/24"), CELL], dtype=np.uint64)
    wanted = wanted_of(DemandClients(("relay",) * 2, groups, np.array([1.0, 1.0])))
    asked = found(wanted, rows, times=5)
    assert asked.prefixes.keys() == {"10.1.2.0/24"}
    assert asked.prefixes["10.1.2.0/24"].rate <= MAX_GROUP_SHARE
    target = asked.prefixes["10.1.2.0/24"].gain_ms
    assert "fra" not in target or max(target.values()) > target["fra"]


def test_demand_of_several_services_is_one() -> None:
    """Each prefix and cell is named once, as it is looked for once."""
    groups = np.array([CELL, 7, CELL, CELL + 1, 7], dtype=np.uint64)
    wanted = wanted_of(DemandClients(("a", "a", "b", "b", "b"), groups, np.arange(1.0, 6.0)))
    assert wanted.prefixes.tolist() == [7]
    assert wanted.of_prefixes.tolist() == [7.0]
    assert wanted.cells.tolist() == [0, 1]
    assert wanted.of_cells.tolist() == [4.0, 4.0]


def test_what_is_told_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The groups with most demand are weighed, and those that spend most are named."""
    monkeypatch.setattr(exploring, "MAX_WEIGHED", 3)
    monkeypatch.setattr(exploring, "MAX_TARGETS", 1)
    rows = [(f"10.1.{n}.0/24", "fra", 60.0) for n in range(9)]
    groups = np.array([*(parse_prefix(each[0]) for each in rows), CELL, CELL + 1], dtype=np.uint64)
    counts = np.array([1.0] * 8 + [50.0, 40.0, 2.0])
    wanted = wanted_of(DemandClients(("relay",) * 11, groups, counts))
    promised = found(wanted, rows, times=3)
    assert [*promised.prefixes, *promised.places] == ["10.1.8.0/24"]


def test_only_open_regions_are_looked_at() -> None:
    """A region needs one relay that is well and has room; what operators want goes first."""
    assert open_regions(PLAN, None, None, GROUND.regions).all()
    status = status_of().model_copy(
        update={
            "relays": {
                "ams-1": RelayStatus(verdict="down"),
                "fra-1": RelayStatus(verdict="up", draining=True),
                "lon-1": RelayStatus(verdict="up", sessions=850),
                "mil-1": RelayStatus(verdict="up", share=50),
                "nyc-1": RelayStatus(verdict="up", sessions=849),
            }
        }
    )
    assert open_regions(PLAN, status, None, GROUND.regions).tolist() == [False] * 4 + [True] * 2
    prices = Prices(number=1, lineage="test", created_at=NOW, now={"fra": 0.2, "nyc": 0.0})
    charged = open_regions(PLAN, None, prices, GROUND.regions).tolist()
    assert charged == [True, False, True, True, True, True]
    shut = [{**REGIONS[0], "state": "draining"}, {**REGIONS[1], "weight": 0}, *REGIONS[2:]]
    relays = [*RELAYS[:2], {**RELAYS[2], "state": "disabled"}, {**RELAYS[3], "kind": "turn"}]
    plan = plan_of({**DOCUMENT, "regions": shut, "relays": [*relays, *RELAYS[4:]]})
    assert open_regions(plan, None, None, GROUND.regions).tolist() == [False] * 4 + [True] * 2
    is_open = open_regions(PLAN, status, None, GROUND.regions)
    assert set(found(cells(1.0), is_open=is_open).places[BERLIN].gain_ms) == {"sto"}


def targets_of(**rates: float) -> ExplorationTargets:
    places = {
        name: ExplorationTarget(rate=rate, gain_ms={"fra": 5.0}) for name, rate in rates.items()
    }
    return ExplorationTargets(share=SHARE if rates else 0.0, places=places)


def test_edges_are_told_at_once_and_then_seldom() -> None:
    """Of where to look alone only after a rest, and only if most of it is elsewhere now."""
    made = Exploring(SHARE)
    assert not made.round(ExplorationTargets())
    assert made.round(targets_of(here=0.1))
    assert made.publish() == targets_of(here=0.1)
    assert not any(made.round(targets_of(there=0.1)) for _ in range(REST_ROUNDS))
    assert made.round(targets_of(there=0.1))
    assert not made.round(targets_of(here=0.1, there=0.04)), "most of it is where it was"
    assert made.round(targets_of(here=0.04)), "there is little left to be found"
    assert made.publish() == targets_of(here=0.04)


def test_the_next_leader_goes_on_from_what_was_told() -> None:
    """It knows no demand yet, so for a while it says nothing of its own."""
    heir = Exploring(SHARE)
    heir.resume(targets_of(here=0.1))
    assert not any(heir.round(ExplorationTargets()) for _ in range(REST_ROUNDS))
    assert heir.round(ExplorationTargets())
    frugal = Exploring(0.0)
    frugal.resume(targets_of(here=0.1))
    assert frugal.round(ExplorationTargets()), "an operator who wants less of it does not wait"
    frugal.publish()
    assert not frugal.round(ExplorationTargets())


TRUTH = {"ams": 25.0, "fra": 60.0, "lon": 45.0, "mil": 18.0, "nyc": 110.0, "sto": 40.0}


class Mesh:
    """Clients in Berlin whose paths are not as long as the map says; all in one process.

    What the one that explores measures, and nothing else, comes back as samples.
    """

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.topology = Topology(plan_of({**DOCUMENT, "relays": [*RELAYS, *MORE]}), GEO)
        self.memory, self.publication = Memory(), Publication()
        self.exploring, self.demand = Exploring(SHARE), Demand(0.0)
        self.latency: Latency | None = None
        self.counts, self.allocations, self.published = AllocatorCounters(), 0, 0
        self.prefixes = [f"10.{n}.1.0/24" for n in range(40)]
        self.status: Status = status_of(**{each["id"].replace("-", "_"): "up" for each in RELAYS})
        self._see()

    def _see(self) -> None:
        self.rtt = RttMap(self.topology, self.latency)
        steering = Steering(self.topology, self.status, NOW, rtt=self.rtt)
        self.view = AllocatorState(steering, KEYS)

    def allocated(self, prefix: str, *, may_explore: bool = False) -> Allocation:
        address = ip_address(prefix.replace(".0/24", ".9"))
        request = AllocationRequest(address=address, source="peer", may_explore=may_explore)
        entropy = self.draw.randbytes(ENTROPY_LENGTH)
        made = allocate(self.view, request, now=NOW, entropy=entropy)
        assert isinstance(made, Allocation)
        return made

    def round(self, allocations: int) -> None:
        """So many allocations, and what the leader makes of them."""
        rows: list[Row] = []
        noted: dict[int, int] = {}
        client_groups = ClientGroups.of(self.rtt)
        for _ in range(allocations):
            prefix = self.draw.choice(self.prefixes)
            made = self.allocated(prefix, may_explore=self.counts.allowance.is_left)
            whom = RequestClient(made.request.address, "peer")
            share = self.view.exploration_share
            self.counts.granted(made.route, "allocated", whom, share)
            if made.route.explored:
                tried = {each.relay.region for each in made.route.offers}
                rows += [(prefix, each, self.measured(each)) for each in sorted(tried)]
            number = np.array([parse_prefix(prefix)], dtype=np.uint64)
            group = int(client_groups.groups_of(number)[0])
            noted[group] = noted.get(group, 0) + 1
        self.allocations += allocations
        self.demand.take("relay", noted, answers=allocations, lasts_s=300, now=self.allocations)
        if rows:
            observe(self.memory, f"batch-{self.allocations}", rows)
        self._learn()

    def measured(self, region: str) -> float:
        return TRUTH[region] + self.draw.expovariate(1 / 2.0)

    def _learn(self) -> None:
        learned = self.memory.learn(GROUND)
        is_news = self.publication.round(learned, GROUND)
        wanted = wanted_of(self.demand.clients(self.allocations))
        now = exploration_targets(learned, GROUND, self.publication, wanted, EVERY, SHARE)
        if self.exploring.round(now) or is_news:
            self.publication.is_due = False
            self.published += 1
            told = self.publication.shared
            assert told is not None
            self.latency = Latency(
                number=self.published,
                lineage="test",
                created_at=NOW,
                regions=self.publication.regions,
                ms_per_km=told.ms_per_km,
                base_ms=told.base_ms,
                scale=told.scale,
                countries=dict(told.countries),
                prefixes=self.publication.rows(),
                explore=self.exploring.publish(),
            )
            self._see()

    def on(self, region: str) -> float:
        """The share of prefixes whose allocations begin there."""
        entries = [self.allocated(prefix).route.entry for prefix in self.prefixes]
        return entries.count(region) / len(entries)


@pytest.mark.parametrize("seed", [1, 2])
def test_exploring_alone_finds_the_region_that_the_map_has_wrong(seed: int) -> None:
    """Within 100 allocations a prefix, of which the share explores, everybody goes to the best."""
    mesh = Mesh(seed)
    assert mesh.on("fra") == 1.0, "by distance"
    for _ in range(20):
        mesh.round(200)
    assert mesh.on("mil") >= 0.95
    assert mesh.latency is not None
    best = mesh.latency.regions.index("mil")
    rows = mesh.latency.prefixes.values()
    assert rows
    assert sum(min(x for x in row if x is not None) == row[best] for row in rows) >= 0.9 * len(rows)
    looked = sum(mesh.counts.explored.values())
    assert 0 < looked <= CANDIDATES * SHARE * mesh.allocations
