"""Computes exploration targets, the regions that clients may try, and decides when to publish.

Groups are the prefixes that have their own row, and locations for all others. They are weighted by
demand, or by samples if no demand has been reported. No clock, no store.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from firsthop_controlplane.learning.publication import Publication
from firsthop_steering.arrays import Floats, Ints, Keys, Mask
from firsthop_steering.decision.availability import may_be_explored
from firsthop_steering.decision.placement import Ground
from firsthop_steering.feed.demand import prefix_text
from firsthop_steering.feed.exploration_targets import (
    MAX_TARGET_REGIONS,
    MAX_TARGETS,
    ExplorationTarget,
    ExplorationTargets,
    location_key,
)
from firsthop_steering.feed.snapshot import Plan, Prices, RelayStatus, Status
from firsthop_steering.plan.model import State
from firsthop_steering.planner.groups import Wanted
from firsthop_steering.rtt.exploration import explore, lower_bounds_ms
from firsthop_steering.rtt.learned import Learned

MAX_WEIGHED = 20_000
"""Number of groups that share the budget, those with most demand: 64 MB for 50 regions."""
MIN_RATE = 0.0005
"""A target tried less often than once in 2,000 allocations is omitted."""
REST_ROUNDS = 10
"""Rounds between two publications that differ only in targets."""
CHANGED = 0.5
"""Share of the budget that must move for such a publication."""
_UNKNOWN = RelayStatus()


@dataclass(frozen=True, slots=True)
class _Groups:
    """Prefixes, then cells, with their estimates, lower bounds and order of regions.

    Floats are groups × regions; `demand` has one number per group."""

    prefixes: Keys
    cells: Ints
    bounds_ms: Floats
    rtt_ms: Floats
    held: Ints
    demand: Floats

    def with_most_demand(self) -> _Groups:
        """Only the groups with most demand, if there are too many."""
        if len(self.demand) <= MAX_WEIGHED:
            return self
        kept = np.sort(np.argpartition(-self.demand, MAX_WEIGHED - 1)[:MAX_WEIGHED])
        count = len(self.prefixes)
        rows, cells = kept[kept < count], kept[kept >= count] - count
        return _Groups(
            self.prefixes[rows], self.cells[cells], self.bounds_ms[kept], self.rtt_ms[kept],
            self.held[kept], self.demand[kept],
        )  # fmt: skip

    def names(self, ground: Ground, which: Ints) -> Iterator[str]:
        """The names in `ExplorationTargets` of the groups in `which`."""
        geo, count = ground.geo, len(self.prefixes)
        for each in which.tolist():
            if each < count:
                yield prefix_text(int(self.prefixes[each]))
            else:
                cell = int(self.cells[each - count])
                yield location_key(float(geo.latitudes[cell]), float(geo.longitudes[cell]))


def open_regions(
    plan: Plan, status: Status | None, prices: Prices | None, regions: tuple[str, ...]
) -> Mask:
    """The regions that may be explored: not priced, with an active relay that is up.

    Allocators check again, with what they know."""
    relays, charged = status.relays if status else {}, prices.now if prices else {}
    open_ones = {
        each.region
        for each in plan.document.relays
        if each.kind == "relay"
        and each.state is State.ACTIVE
        and each.weight > 0
        and may_be_explored(each, relays.get(each.id, _UNKNOWN))
    }
    wanted = {
        each.id for each in plan.document.regions if each.state is State.ACTIVE and each.weight > 0
    }
    free = {each for each in open_ones & wanted if not charged.get(each)}
    return np.array([each in free for each in regions], dtype=np.bool_)


def exploration_targets(
    learned: Learned,
    ground: Ground,
    publication: Publication,
    wanted: Wanted,
    is_open: Mask,
    share: float,
) -> ExplorationTargets:
    """The targets after a round of `publication`; `share` is the share of all allocations."""
    groups = _groups(learned, ground, publication, wanted).with_most_demand()
    if not share or not len(groups.demand) or not is_open.any():
        return ExplorationTargets()
    may = np.broadcast_to(is_open, groups.rtt_ms.shape)
    found = explore(groups.bounds_ms, groups.rtt_ms, groups.held, may, groups.demand, share)
    named = np.flatnonzero(found.rates >= MIN_RATE)
    spent = found.rates[named] * groups.demand[named]
    named = np.sort(named[np.argsort(-spent, kind="stable")[:MAX_TARGETS]])
    made: tuple[dict[str, ExplorationTarget], dict[str, ExplorationTarget]] = {}, {}
    for each, name in zip(named.tolist(), groups.names(ground, named), strict=True):
        target = _target(float(found.rates[each]), found.gain_ms[each], ground.regions)
        if target is not None:
            made[each >= len(groups.prefixes)][name] = target
    if not any(made):
        return ExplorationTargets()
    return ExplorationTargets(share=share, prefixes=made[0], places=made[1])


def _target(rate: float, gain_ms: Floats, regions: tuple[str, ...]) -> ExplorationTarget | None:
    best = np.argsort(-gain_ms, kind="stable")[:MAX_TARGET_REGIONS].tolist()
    gains = {regions[each]: round(float(gain_ms[each]), 1) for each in best}
    gains = {region: gain for region, gain in gains.items() if gain > 0}
    return ExplorationTarget(rate=round(rate, 4), gain_ms=gains) if gains else None


def _groups(learned: Learned, ground: Ground, publication: Publication, wanted: Wanted) -> _Groups:
    """The groups with any demand."""
    orders, shared = publication.orders, publication.shared
    assert shared is not None
    if len(wanted):
        of_rows = _values_of(orders.prefixes, wanted.prefixes, wanted.of_prefixes)
    else:
        counts = learned.entries.count
        samples = np.bincount(learned.which, counts, len(learned.prefixes)).astype(np.float64)
        of_rows = _values_of(orders.prefixes, learned.prefixes, samples)
    rows = np.flatnonzero(of_rows > 0)
    here = (wanted.cells < len(ground.geo)) & (wanted.of_cells > 0)
    cells = wanted.cells[here]
    estimates = learned.of_groups(cells, np.zeros(len(cells), dtype=np.int64))
    held = np.argsort(shared.expected_ms(cells, ground), axis=1, kind="stable")
    return _Groups(
        orders.prefixes[rows],
        cells,
        np.vstack([publication.bounds_ms[rows], lower_bounds_ms(estimates)]).astype(np.float64),
        np.vstack([orders.rtt_ms[rows], estimates.rtt_ms]).astype(np.float64),
        np.vstack([orders.held[rows], held]).astype(np.int64),
        np.concatenate([of_rows[rows], wanted.of_cells[here]]),
    )


def _values_of(prefixes: Keys, among: Keys, values: Floats) -> Floats:
    """The value of each of `prefixes` in the ascending `among`; 0 if it does not occur there."""
    if not len(among):
        return np.zeros(len(prefixes))
    place = np.minimum(np.searchsorted(among, prefixes), len(among) - 1)
    return np.where(among[place] == prefixes, values[place], 0.0)


@dataclass(slots=True)
class Exploring:
    """The published exploration targets, and the present ones."""

    share: float
    """Share of all allocations that may explore; 0: no exploration."""
    published: ExplorationTargets = field(default_factory=ExplorationTargets)
    now: ExplorationTargets = field(default_factory=ExplorationTargets)
    rounds: int = REST_ROUNDS
    """Rounds since the last publication; the first publication need not wait."""

    def resume(self, published: ExplorationTargets) -> None:
        """Continue from the targets that the previous leader published."""
        self.published, self.now, self.rounds = published, published, 0

    def of(
        self, prefix: str, cell: int, ground: Ground, *, has_row: bool
    ) -> ExplorationTarget | None:
        """The published target of a prefix in a cell, looked up the way allocators do it."""
        if has_row:
            return self.published.prefixes.get(prefix)
        geo = ground.geo
        if cell >= len(geo):
            return None
        name = location_key(float(geo.latitudes[cell]), float(geo.longitudes[cell]))
        return self.published.places.get(name)

    def round(self, now: ExplorationTargets) -> bool:
        """Store the targets of a round; returns whether they alone are worth publishing."""
        self.now, self.rounds = now, self.rounds + 1
        if self.published.share > self.share:  # an operator reduced the share
            return True
        return self.rounds > REST_ROUNDS and _is_changed(self.published, now)

    def publish(self) -> ExplorationTargets:
        """The targets for the next snapshot; they count as published from now on."""
        self.published, self.rounds = self.now, 0
        return self.now


def _is_changed(before: ExplorationTargets, now: ExplorationTargets) -> bool:
    old, new = _tries(before), _tries(now)
    off = sum(abs(new.get(each, 0.0) - old.get(each, 0.0)) for each in old.keys() | new.keys())
    return off > CHANGED * max(sum(old.values()), sum(new.values()))


def _tries(targets: ExplorationTargets) -> dict[tuple[str, str], float]:
    """How often each group tries each region first, as `rtt.exploration.choose` draws it."""
    tries = {}
    for name, each in (*targets.prefixes.items(), *targets.places.items()):
        whole = sum(gain**2 for gain in each.gain_ms.values())
        for region, gain in each.gain_ms.items():
            tries[name, region] = each.rate * gain**2 / whole
    return tries
