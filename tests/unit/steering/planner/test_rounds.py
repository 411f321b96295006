"""Prices from round to round: by load, through losses and returns, behind caches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from firsthop_steering.decision.rendezvous import BUCKETS
from firsthop_steering.feed.snapshot import Prices
from firsthop_steering.planner.groups import (
    DemandRows,
    Restored,
    Supply,
)
from firsthop_steering.planner.market import charged_ms, outcome, reliefs
from firsthop_steering.planner.plan import MAX_FALL_MS, MAX_RISE_MS
from firsthop_steering.planner.planner import PLAN_S
from firsthop_steering.planner.problem import TransportProblem
from firsthop_steering.planner.rounds import CALM, Rounds
from support.worlds import NOW

NAMES = ["fra", "gru", "nyc"]
WANTED = DemandRows(
    np.array([[10.0, 40.0, 60.0], [20.0, 30.0, 60.0], [90.0, 60.0, 10.0]]),
    np.array([100.0, 40.0, 50.0]),
    np.array([0, 0, 2]),
)


def supply(
    *capacity: float, sessions: Sequence[float] = (np.nan,) * 3, lost: Sequence[int] = ()
) -> Supply:
    gone = np.isin(np.arange(3), lost)
    stated = bool(np.isfinite(capacity).any())
    return Supply(NAMES, np.where(gone, 0, capacity), np.array(sessions), gone, stated)


def turn(
    rounds: Rounds,
    given: Supply,
    *,
    times: int = 1,
    wanted: DemandRows = WANTED,
    whole: Sequence[float] = (200.0,) * 3,
) -> None:
    """Rounds a TTL apart; `whole` is what lost regions will carry when they are back."""
    restored = Restored(wanted, np.array(whole)) if given.lost.any() else None
    cost = np.where(given.lost, np.inf, wanted.cost_ms)
    wanted = DemandRows(cost, wanted.clients, wanted.homes)
    for _ in range(times):
        rounds.round(
            wanted, given, elapsed_s=30.0, ttl_s=30.0, clock=lambda: 0.0, restored=restored
        )


def in_force(rounds: Rounds, *lost: str) -> dict[str, float]:
    return dict(zip(NAMES, rounds.in_force(NAMES, lost).tolist(), strict=True))


def load(prices: dict[str, float], given: Supply) -> list[float]:
    cost = np.where(given.lost, np.inf, WANTED.cost_ms)
    vector = np.array([prices.get(name, 0.0) for name in NAMES])
    return outcome(
        TransportProblem(cost, WANTED.clients, given.capacity), vector, reliefs(NAMES)
    ).load.tolist()


def test_without_any_capacity_nothing_is_charged() -> None:
    """Whoever states none wants the nearest."""
    rounds = Rounds({"fra": 5.0}, {"nyc": {"fra": 3.0}})
    turn(rounds, supply(np.inf, np.inf, np.inf))
    assert (rounds.now, rounds.without, rounds.view) == ({}, {}, None)


def test_no_region_is_above_its_limit() -> None:
    """Where one would be, it is charged for; regions with room are free."""
    given = supply(100.0, 80.0, np.inf)
    rounds = Rounds()
    turn(rounds, given, times=8)
    assert load({}, given)[0] == 140.0
    found = load(rounds.now, given)
    assert found[0] <= 85.5
    assert found[1] <= 68.5
    assert "nyc" not in rounds.now
    assert rounds.view is not None
    assert rounds.view.worst < 1.01


def test_prices_for_every_single_loss_lie_ready() -> None:
    """With them no region left is above its capacity."""
    rounds = Rounds()
    turn(rounds, supply(200.0, 120.0, 140.0), times=8)
    for at, name in enumerate(NAMES):
        given = supply(200.0, 120.0, 140.0, lost=[at])
        found = load(in_force(rounds, name), given)
        room = given.capacity
        assert all(each <= most * 1.01 for each, most in zip(found, room, strict=True))


def test_prices_rise_fast_and_fall_slowly() -> None:
    """By what caches can follow in a TTL, while a region is near its capacity."""
    rounds, given = Rounds(), supply(100.0, 200.0, 200.0)
    turn(rounds, given)
    assert 0 < rounds.now["fra"] <= MAX_RISE_MS
    turn(rounds, given, times=5)
    high = rounds.now["fra"]
    fewer = DemandRows(WANTED.cost_ms, WANTED.clients * [0.5, 0.8, 1.0], WANTED.homes)
    turn(rounds, given, wanted=fewer)
    assert rounds.now["fra"] == pytest.approx(high - MAX_FALL_MS, abs=0.02)


def test_nothing_is_charged_where_no_region_is_near_its_capacity() -> None:
    """A price is for load: what was charged before is gone at once."""
    rounds = Rounds({"fra": 70.0}, {"nyc": {"fra": 30.0}})
    turn(rounds, supply(140.0 / CALM, 200.0, 200.0))
    assert rounds.now == {}


def test_nothing_is_charged_where_hardly_anybody_is() -> None:
    """Whether anything is known of demand or not; but a region that is not heard of may be full."""
    held = {"fra": 70.0}, {"nyc": {"fra": 30.0}}
    rounds = Rounds(*held)
    assert rounds.clear_if_calm(supply(100.0, 50.0, 100.0, sessions=[20.0, 5.0, 10.0]))
    assert (rounds.now, rounds.without) == ({}, {})
    for sessions in ([20.0, 5.0, 11.0], [1.0, np.nan, 1.0]):
        rounds = Rounds(*held)
        assert not rounds.clear_if_calm(supply(100.0, 50.0, 100.0, sessions=sessions))
        assert (rounds.now, rounds.without) == held
    assert Rounds(*held).clear_if_calm(
        supply(100.0, 50.0, 50.0, sessions=[20.0, np.nan, 10.0], lost=[1])
    ) is (True)
    assert not Rounds(*held).clear_if_calm(supply(100.0, 50.0, 50.0, lost=[0, 1, 2]))


def test_a_load_that_is_gone_is_charged_and_shown_no_more() -> None:
    """In the round that first hears of it: prices, prepared prices and the operators' view."""
    rounds = Rounds()
    turn(rounds, supply(100.0, 200.0, 200.0, sessions=[95.0, 45.0, 50.0]), times=8)
    assert rounds.now["fra"] > 0
    turn(rounds, supply(100.0, 200.0, 200.0, sessions=[2.0, 1.0, 1.0]))
    assert (rounds.now, rounds.without) == ({}, {})
    assert rounds.view is not None
    before = rounds.view.demand
    turn(rounds, supply(100.0, 200.0, 200.0, sessions=[2.0, 1.0, 1.0]), times=8)
    assert rounds.view.demand < before / 2


@pytest.mark.parametrize("demand", [0.0, 0.01, 1.0])
def test_six_losses_in_a_row_leave_no_trace(demand: float) -> None:
    """Each region that is back is charged nothing at once, whatever was lost before."""
    rounds = Rounds()
    wanted = DemandRows(WANTED.cost_ms, WANTED.clients * max(demand, 0.01), WANTED.homes)
    told = np.array([140.0, 0.0, 50.0]) * demand
    for at in (0, 1, 2, 1, 0, 2):
        gone = supply(200.0, 200.0, 200.0, sessions=np.where(np.arange(3) == at, np.nan, told),
                      lost=[at])  # fmt: skip
        turn(rounds, gone, times=2, wanted=wanted)
        assert in_force(rounds) == dict.fromkeys(NAMES, 0.0), "edges go by this when it is back"
        turn(rounds, supply(200.0, 200.0, 200.0, sessions=told), wanted=wanted)
        assert rounds.now == {}


def test_a_return_is_planned_for_while_a_region_is_lost() -> None:
    """Where it is needed, the region that is back is as dear as its load wants: the prices of the
    moment in which it is back overload nobody, and neither do those while it is lost."""
    capacity = (110.0, 90.0, 120.0)
    for at, name in enumerate(NAMES):
        rounds = Rounds()
        turn(rounds, supply(*capacity), times=8, whole=capacity)
        gone = supply(*capacity, lost=[at])
        turn(rounds, gone, times=8, whole=capacity)
        during = load(in_force(rounds, name), gone)
        assert all(each <= most * 1.01 for each, most in zip(during, capacity, strict=True)), name
        back = load(in_force(rounds), supply(*capacity))
        assert all(each <= most * 1.01 for each, most in zip(back, capacity, strict=True)), name


def test_prices_may_fall_at_once_when_there_is_more_room() -> None:
    """One of two lost regions is back, or a relay has ended its slow start: the plan is another,
    and nobody has to be kept away from it for minutes."""
    rounds = Rounds()
    turn(rounds, supply(45.0, 200.0, 200.0), times=8)
    dear = rounds.now["fra"]
    assert dear > 3 * MAX_FALL_MS
    turn(rounds, supply(45.0, 200.0, 200.0))
    assert rounds.now["fra"] == dear
    turn(rounds, supply(150.0, 200.0, 200.0))
    assert rounds.now["fra"] < dear - 2 * MAX_FALL_MS


def test_demand_is_scaled_to_the_sessions_that_agents_report() -> None:
    """Two sessions for a client of the reports; one region does not report."""
    rounds = Rounds()
    turn(rounds, supply(300.0, 300.0, 300.0, sessions=[280.0, np.nan, 100.0]))
    assert rounds.view is not None
    assert rounds.view.scale == pytest.approx(2.0, rel=0.03)
    assert rounds.view.demand == pytest.approx(380.0, rel=0.03)
    assert rounds.now["fra"] > 0


def test_questions_without_sessions_move_nobody() -> None:
    """Anybody can ask: where agents count no sessions, what was charged fades away."""
    rounds, full = Rounds(), supply(60.0, 200.0, 200.0)
    turn(rounds, full, times=6)
    assert rounds.now["fra"] > 0
    turn(rounds, supply(60.0, 200.0, 200.0, sessions=[0.0, np.nan, 0.0]), times=30)
    assert rounds.now == {}
    assert rounds.without == {}
    assert rounds.view is not None
    assert (rounds.view.scale, rounds.view.demand, rounds.view.worst) == (0.0, 0.0, 0.0)


def test_only_what_matters_is_news() -> None:
    """Compared with what was published, so that nothing creeps."""
    told = Prices(number=1, lineage="a", created_at=NOW, now={"fra": 5.0}, without={"nyc": {}})
    assert not Rounds({"fra": 5.09}, {"nyc": {"fra": 1.9}}).differs_from(told)
    assert Rounds({"fra": 5.2}, {}).differs_from(told)
    assert Rounds({"fra": 5.0}, {"nyc": {"fra": 2.1}}).differs_from(told)
    assert Rounds().differs_from(told)
    assert not Rounds().differs_from(None)


def test_a_round_that_takes_long_leaves_losses_to_the_next() -> None:
    """Each has its turn."""
    rounds, time = Rounds(), iter(range(0, 10_000, 10))
    given = supply(100.0, 80.0, np.inf)
    seen = []
    for _ in range(3):
        rounds.without.clear()
        rounds.round(WANTED, given, elapsed_s=30, ttl_s=30, clock=lambda: float(next(time)))
        seen += [*rounds.without]
    assert seen == NAMES


def real_load(cost: np.ndarray, sessions: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """Where clients go at edges, which draw equal scores apart."""
    relief = reliefs(NAMES)
    tie = np.random.default_rng(1).uniform(0, 1e-6, relief.shape)
    picked = (cost[:, None, :] + charged_ms(prices, relief) + tie).argmin(axis=2)
    each = np.repeat(sessions / len(relief), len(relief))
    return np.bincount(picked.ravel(), each, len(NAMES))


def test_a_surge_behind_caches_is_answered_within_two_minutes_and_for_good() -> None:
    """Demand of one region's clients doubles. Caches ask once a TTL as before, and all that a
    planner sees is what regions carry: nobody is above capacity two minutes later, and little moves
    then."""
    draw = np.random.default_rng(7)
    cost = np.abs(draw.uniform(0, 100, 80)[:, None] - [10.0, 50.0, 90.0]) + 5
    homes, group = cost.argmin(axis=1), np.repeat(np.arange(80), 20)
    caches = DemandRows(cost, np.full(80, 20.0), homes)
    behind, asks_at = draw.exponential(10, len(group)), draw.integers(0, 30, len(group))
    bucket = draw.integers(0, BUCKETS, len(group))
    nearest = np.bincount(homes[group], behind, 3)
    capacity = np.array([1.3 * nearest[0], 1.8 * nearest.max(), 1.8 * nearest.max()])
    rounds, relief, region = Rounds(), reliefs(NAMES), homes[group]
    used, moved = [], []
    for second in range(1200):
        surge = np.clip((second - 300) / 60, 0, 1) if second < 900 else 0.0
        wants = behind * (1 + surge * (homes[group] == 0))
        load = np.bincount(region, wants, 3)
        if second and second % int(PLAN_S) == 0:
            told = Supply(NAMES, capacity, load, np.zeros(3, dtype=bool))
            rounds.round(caches, told, elapsed_s=PLAN_S, ttl_s=30, clock=lambda: 0.0)
        due = np.flatnonzero(second % 30 == asks_at)
        charged = charged_ms(rounds.in_force(NAMES, []), relief[bucket[due]])
        then = (cost[group[due]] + charged).argmin(axis=1)
        moved.append(wants[due][then != region[due]].sum() / wants.sum())
        region[due] = then
        used.append(load / capacity)
    assert np.array(used)[300:420].max() > 1
    assert np.array(used)[420:].max() <= 1
    assert sum(moved[:300]) == 0, "where nobody is above a limit nobody moves"
    assert sum(moved[480:900]) < 0.05
    assert sum(moved) < 0.6


def test_two_regions_at_one_place_share() -> None:
    """Edges draw equal scores apart; a planner that gives the first all would charge nobody."""
    cost = np.array([[10.0, 10.0, 90.0]] * 20)
    wanted = DemandRows(cost, np.ones(20), np.zeros(20, dtype=np.int64))
    given = Supply(NAMES, np.array([1000.0] * 3), np.zeros(3), np.zeros(3, dtype=bool))
    rounds = Rounds()
    for _ in range(120):
        load = real_load(cost, np.full(20, 105.0), rounds.in_force(NAMES, []))
        told = Supply(NAMES, given.capacity, load, given.lost)
        rounds.round(wanted, told, elapsed_s=15, ttl_s=30, clock=lambda: 0.0)
    assert load.max() < 950
    assert load[2] > 300


class Caches:
    """Clients of regions by distance, who ask once a TTL of 30 s, and a planner that sees what it
    sees in service."""

    def __init__(self, demand: float) -> None:
        draw = np.random.default_rng(7)
        at = draw.uniform(0, 100, 600)
        self.cost = 5 + np.abs(at[:, None] - np.array([10.0, 50.0, 90.0]))
        self.sessions = np.full(600, demand / 600)
        self.capacity = np.full(3, 100.0)
        self.asks_at = draw.integers(0, 30, 600)
        self.bucket = draw.integers(0, BUCKETS, 600)
        self.answer = self.cost.argmin(axis=1)
        self.second = 0
        self.rounds = Rounds()
        self.worst = np.zeros(3)
        """The greatest load over capacity since the last change."""
        self.lost = np.zeros(3, dtype=bool)

    def change(self, *lost: int) -> None:
        """These regions are lost and no others, and there is a round at once, as in service."""
        self.lost = np.isin(np.arange(3), lost)
        self.worst = np.zeros(3)
        self._plan(1.0)

    def run(self, seconds: int) -> None:
        relief = reliefs(NAMES)[self.bucket]
        for _ in range(seconds):
            self.second += 1
            if self.second % int(PLAN_S) == 0:
                self._plan(PLAN_S)
            lost = [name for name, gone in zip(NAMES, self.lost, strict=True) if gone]
            charged = charged_ms(self.rounds.in_force(NAMES, lost), relief)
            best = np.where(self.lost, np.inf, self.cost + charged).argmin(axis=1)
            due = (self.second % 30 == self.asks_at) | self.lost[self.answer]
            self.answer = np.where(due, best, self.answer)
            self.worst = np.maximum(self.worst, self.load() / self.capacity)

    def load(self) -> np.ndarray:
        return np.bincount(self.answer, self.sessions, 3)

    def _plan(self, elapsed_s: float) -> None:
        rows = DemandRows(self.cost, np.ones(600), self.cost.argmin(axis=1))
        open_ = DemandRows(np.where(self.lost, np.inf, self.cost), rows.clients, rows.homes)
        told = np.where(self.lost, np.nan, self.load())
        given = Supply(NAMES, np.where(self.lost, 0, self.capacity), told, self.lost)
        self.rounds.round(
            open_, given, elapsed_s=elapsed_s, ttl_s=30, clock=lambda: 0.0,
            restored=Restored(rows, self.capacity) if self.lost.any() else None,
        )  # fmt: skip


@pytest.mark.parametrize("demand", [60.0, 120.0, 180.0])
def test_clients_of_a_region_that_is_back_return_with_their_caches(demand: float) -> None:
    """Two and a half minutes of loss, six times: a TTL later they are there again, and no price is
    left; near its capacity a region may be a little dear until what was learned of loads is right
    again. Nobody is above capacity on the way."""
    caches = Caches(demand)
    caches.run(120)
    before = caches.load()
    for at in (0, 1, 2, 2, 1, 0):
        caches.change(at)
        caches.run(150)
        caches.change()
        caches.run(31)
        if demand < 180:
            assert caches.rounds.now == {}
            assert caches.load() == pytest.approx(before)
        assert caches.load() == pytest.approx(before, rel=0.15)
        caches.run(59)
        assert max(caches.rounds.now.values(), default=0.0) < 5
        assert caches.worst.max() < 1


def test_who_is_still_kept_away_overloads_nobody() -> None:
    """A price that is not needed any more falls slowly; its clients are where they were led."""
    rounds = Rounds({"fra": 60.0})
    given = supply(190.0, 110.0, 200.0, sessions=[0.0, 140.0, 50.0])
    turn(rounds, given, times=1)
    found = {name: rounds.now.get(name, 0.0) for name in NAMES}
    assert found["fra"] == pytest.approx(60.0 - MAX_FALL_MS, abs=0.1)
    assert found["gru"] > 20, "as dear as it takes, while Frankfurt is"


def test_a_moment_without_any_relay_up_is_no_reason_to_charge_nothing() -> None:
    """What was charged holds until there is something to learn from."""
    rounds = Rounds({"fra": 40.0}, {"nyc": {"fra": 3.0}})
    turn(rounds, supply(100.0, 100.0, 100.0, lost=[0, 1, 2]))
    assert (rounds.now, rounds.without) == ({"fra": 40.0}, {"nyc": {"fra": 3.0}})
