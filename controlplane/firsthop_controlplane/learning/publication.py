"""Chooses which learned latency is published, and when it changed enough. No clock, no store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

import numpy as np
import numpy.typing as npt

from firsthop_controlplane.learning.orders import OMITTED, PrefixOrders, joined
from firsthop_steering.arrays import Floats, Ints, Keys
from firsthop_steering.decision.placement import Ground
from firsthop_steering.feed.snapshot import MAX_LEARNED, Latency
from firsthop_steering.rtt.exploration import lower_bounds_ms
from firsthop_steering.rtt.learned import Learned
from firsthop_steering.rtt.prior import spread_ms
from firsthop_steering.rtt.samples import keys_of_prefixes, parse_prefix

MAX_NUMBERS = 2_500_000
"""Limit on prefixes × regions: about 13 MB of JSON, in one line of the feed."""
_CHUNK = 2000
_ASN = 2
"""Code in `Estimates.source`: lower ones do not improve the country's estimate."""
PRIOR_STILL_MS, COUNTRY_STILL = 1.0, 0.1
"""The shared part is published again if some number moved by more: the prior by milliseconds at a
usual distance, the others by spreads of a path."""
_USUAL_KM = 2000.0
_FAINT = 0.02
"""In spreads: a country whose every deviation is smaller is omitted."""


@dataclass(frozen=True, slots=True)
class SharedLatency:
    """The part common to all prefixes: the prior, its spread, and the countries that deviate."""

    ms_per_km: float
    base_ms: tuple[float, ...]
    scale: float
    countries: Mapping[str, tuple[float, ...]]

    @classmethod
    def of(cls, learned: Learned, ground: Ground) -> SharedLatency:
        """The shared part of what was learned, rounded for publication."""
        deviations = np.round(learned.tree.countries.mean, 3)
        named = {
            ground.nations[number]: tuple(row.tolist())
            for number, row in enumerate(deviations)
            if ground.nations[number] and np.abs(row).max(initial=0.0) > _FAINT
        }
        return cls(
            round(learned.prior.ms_per_km, 6),
            tuple(np.round(learned.prior.base_ms, 2).tolist()),
            round(learned.scale, 3),
            named,
        )

    def is_still(self, before: SharedLatency) -> bool:
        """Whether it differs so little from `before` that `before` may stay published."""
        slope = abs(self.ms_per_km - before.ms_per_km) * _USUAL_KM
        if len(self.base_ms) != len(before.base_ms) or slope > PRIOR_STILL_MS:
            return False
        pairs = zip(self.base_ms, before.base_ms, strict=True)
        if any(abs(now - then) > PRIOR_STILL_MS for now, then in pairs):
            return False
        nothing = (0.0,) * len(self.base_ms)
        return abs(self.scale - before.scale) <= COUNTRY_STILL and all(
            abs(now - then) <= COUNTRY_STILL
            for name in self.countries.keys() | before.countries.keys()
            for now, then in zip(
                self.countries.get(name, nothing), before.countries.get(name, nothing), strict=True
            )
        )

    def expected_ms(self, cells: Ints, ground: Ground) -> Floats:
        """The RTT that a reader uses for cells without their own row: cells × regions."""
        terrain = ground.terrain
        prior = np.asarray(self.base_ms) + self.ms_per_km * terrain.distances_km[cells]
        table = np.zeros((len(ground.nations), len(self.base_ms)))
        for number, name in enumerate(ground.nations):
            table[number] = self.countries.get(name, 0.0)
        deviations: Floats = table[terrain.countries[cells]]
        expected: Floats = prior + deviations * spread_ms(prior) * self.scale
        return expected


@dataclass(slots=True)
class Publication:
    """The latency published last, from which the next one is derived."""

    regions: tuple[str, ...] = ()
    shared: SharedLatency | None = None
    orders: PrefixOrders = field(default_factory=lambda: PrefixOrders.empty(0))
    bounds_ms: npt.NDArray[np.float32] = field(
        default_factory=lambda: np.empty((0, 0), dtype=np.float32)
    )
    """Lower bounds of the RTTs in each row of `orders`, from the last round."""
    is_due: bool = False
    """Whether it differs from what was published last; whoever publishes it sets this to False."""

    @classmethod
    def resumed(cls, latency: Latency) -> Publication:
        """Continue from the latency that the previous leader published."""
        count = len(latency.regions)
        names = [*latency.prefixes]
        keys = np.array([parse_prefix(name) for name in names], dtype=np.uint64)
        order = np.argsort(keys)
        rows = [latency.prefixes[names[place]] for place in order.tolist()]
        tenths = np.array(
            [[OMITTED if each is None else each for each in row] for row in rows], dtype=np.int32
        ).reshape(len(rows), count)
        shared = SharedLatency(latency.ms_per_km, latency.base_ms, latency.scale, latency.countries)
        return cls(latency.regions, shared, PrefixOrders.published(keys[order], tenths))

    def start_over(self, prefixes: Keys) -> None:
        """Forget the order of these prefixes, so that nothing holds it in the next round."""
        known = len(self.orders.prefixes)
        self.orders = self.orders.without(prefixes)
        self.is_due |= len(self.orders.prefixes) < known

    def round(self, learned: Learned, ground: Ground) -> bool:
        """Compute the next publication; returns whether it is due."""
        moved = ground.regions != self.regions
        if moved:
            at = {name: column for column, name in enumerate(self.regions)}
            self.orders = self.orders.moved([at.get(name, -1) for name in ground.regions])
            self.regions = ground.regions
        shared = SharedLatency.of(learned, ground)
        if not moved and self.shared is not None and shared.is_still(self.shared):
            shared = self.shared
        before, former = self.orders, self.shared
        self.orders = self._next(learned, ground, shared, _worth_a_row(learned, ground, shared))
        self.shared = shared
        self.is_due |= (
            moved
            or shared is not former
            or not np.array_equal(before.prefixes, self.orders.prefixes)
            or not np.array_equal(before.tenths, self.orders.tenths)
        )
        return self.is_due

    def _next(
        self, learned: Learned, ground: Ground, shared: SharedLatency, wanted: Ints
    ) -> PrefixOrders:
        parts, bounds = [], [np.empty((0, len(ground.regions)), dtype=np.float32)]
        for first in range(0, len(learned.prefixes), _CHUNK):
            here = wanted[(wanted >= first) & (wanted < first + _CHUNK)]
            if len(here):
                estimates = learned.of_prefixes(slice(first, first + _CHUNK))
                at = here - first
                bounds.append(lower_bounds_ms(estimates)[at].astype(np.float32))
                parts.append(
                    self.orders.next(
                        learned.prefixes[here],
                        estimates.rtt_ms[at],
                        estimates.deviation_ms[at],
                        shared.expected_ms(learned.cells[here], ground),
                    )
                )
        self.bounds_ms = np.concatenate(bounds)
        return joined(parts, len(ground.regions))

    def row(self, prefix: int) -> dict[str, float]:
        """The published row of one prefix: milliseconds by region."""
        orders, regions = self.orders, self.regions
        place = int(np.searchsorted(orders.prefixes, np.uint64(prefix)))
        if place == len(orders.prefixes) or int(orders.prefixes[place]) != prefix:
            return {}
        tenths = orders.tenths[place].tolist()
        return {
            region: each / 10 for region, each in zip(regions, tenths, strict=True) if each >= 0
        }

    def rows(self) -> dict[str, tuple[int | None, ...]]:
        """All rows by prefix, in the form of a snapshot."""
        rows: dict[str, tuple[int | None, ...]] = {}
        names = _names(self.orders.prefixes)
        for first in range(
            0, len(self.orders.prefixes), _CHUNK
        ):  # in chunks, so that the thread yields between them
            some = self.orders.tenths[first : first + _CHUNK].tolist()
            for row in some:
                rows[next(names)] = tuple(None if each == OMITTED else each for each in row)
        return rows


def _worth_a_row(learned: Learned, ground: Ground, shared: SharedLatency) -> Ints:
    """Indices of the prefixes to publish, ascending: those known better than their country.

    If there are too many, those that gain most by their own row are taken: milliseconds saved times
    samples, which stand for clients.
    """
    found, gains = [], []
    samples = np.bincount(learned.which, learned.entries.count, len(learned.prefixes))
    for first in range(0, len(learned.prefixes), _CHUNK):
        estimates = learned.of_prefixes(slice(first, first + _CHUNK))
        own = estimates.rtt_ms
        at = np.flatnonzero((estimates.source >= _ASN).any(axis=1))
        expected = shared.expected_ms(learned.cells[at + first], ground)
        without = own[at, expected.argmin(axis=1)]
        found.append(at + first)
        gains.append((without - own[at].min(axis=1) + 0.1) * samples[at + first])
    if not found:
        return np.empty(0, dtype=np.int64)
    places, gain = np.concatenate(found), np.concatenate(gains)
    limit = min(MAX_LEARNED, MAX_NUMBERS // max(len(ground.regions), 1))
    if len(places) > limit:
        places = places[np.argpartition(-gain, limit - 1)[:limit]]
    return np.sort(places)


def _names(prefixes: Keys) -> Iterator[str]:
    """Ascending prefixes as text, IPv4 first."""
    for key in keys_of_prefixes(prefixes, 4)[1].tolist():
        yield str(IPv4Network((key, 24)))
    for key in keys_of_prefixes(prefixes, 6)[1].tolist():
        yield str(IPv6Network((key << 64, 48)))
