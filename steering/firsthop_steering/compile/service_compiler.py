"""Compiles the distinct answers and decisions of one service."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Ints
from firsthop_steering.compile.preferences import PreferenceOrder, preference_orders
from firsthop_steering.compile.priced_choice import Field, chosen_by_bucket, needs_priced_choice
from firsthop_steering.compile.table import ASK_RESOLVER, Answer
from firsthop_steering.decision.charges import MAX_LEVEL, charged_us, charges_us
from firsthop_steering.decision.decide import Steering, base_us, tier
from firsthop_steering.decision.endpoints import addresses_by_bucket
from firsthop_steering.decision.lifetime import Lifetimes
from firsthop_steering.decision.outcome import DecisionOutcome
from firsthop_steering.decision.rendezvous import BUCKETS, kept_buckets, tie_draws
from firsthop_steering.decision.topology import Pool, Rule
from firsthop_steering.plan.model import Service

_TIER_STEP = 1 << 36
"""19 hours in microseconds, above any score; `preference_orders` has room for 8,000 tiers and 8,000
sites."""


class ServiceCompiler:
    """Collects the distinct answers and decisions of one service."""

    def __init__(self, steering: Steering, service: Service, pool: Pool) -> None:
        self._steering = steering
        self._service = service
        self._pool: Pool = pool
        self._sites = steering.topology.pools[pool]
        self._prices = steering.prices_us(service, pool)
        self._lifetimes = Lifetimes(steering, service, pool)
        self._ids: dict[Answer, int] = {}
        self._orders: dict[tuple[PreferenceOrder, DecisionOutcome], int] = {}
        self._decision_ids: dict[bytes, int] = {}
        self._of_site: dict[tuple[int, DecisionOutcome], npt.NDArray[np.uint32]] = {}
        self.decisions: list[int] = [ASK_RESOLVER]
        self.rows: list[npt.NDArray[np.uint32]] = []

    ask_resolver = 0
    """The decision for unlocated clients in special-purpose space."""

    @property
    def answers(self) -> list[Answer]:
        return list(self._ids)

    def decide(self, rule: Rule | None, columns: Ints) -> Ints:
        """The decision of each column's clients; `rule` is the override that applies, if any."""
        reasons, outcome = self._steering.eligibility(self._service, self._pool, rule)
        eligible = [index for index, reason in enumerate(reasons) if not reason]
        if not eligible:
            return np.full(len(columns), self._constant(self._no_region(outcome)))
        sites = [self._sites[index] for index in eligible]
        weights = self._weights(outcome)
        listed = [self._prices[index] for index in eligible]
        prices = np.array(listed)
        added = base_us(sites, prices)
        added += np.array([tier(rule, site.id) * _TIER_STEP for site in sites])
        rtt = self._steering.rtt.rtt_us(self._pool)
        keys = np.empty((len(eligible), len(columns)), dtype=np.int64)
        for row, index in enumerate(eligible):
            np.take(rtt[index], columns, out=keys[row], mode="clip")
            keys[row] += added[row]
        full = np.array([weights[index] == 100 for index in eligible])
        lowest = np.array([charged_us(price, MAX_LEVEL) for price in listed])
        priced = needs_priced_choice(keys, prices - lowest, full)
        if not priced.any():
            return self._unpriced(keys, full, eligible, outcome)
        decisions = np.empty(len(columns), dtype=np.int64)
        decisions[priced] = self._priced(keys[:, priced] - prices[:, None], eligible, outcome)
        if not priced.all():
            decisions[~priced] = self._unpriced(keys[:, ~priced], full, eligible, outcome)
        return decisions

    def _unpriced(
        self,
        keys: Ints,
        full: npt.NDArray[np.bool_],
        eligible: Sequence[int],
        outcome: DecisionOutcome,
    ) -> Ints:
        """Decisions of columns in which all buckets have one preference order, apart from ties."""
        orders, which = preference_orders(keys, full)
        decisions = [
            self._decision_of(tuple(tuple(eligible[i] for i in group) for group in order), outcome)
            for order in orders
        ]
        return np.array(decisions)[which]

    def _priced(self, keys: Ints, eligible: Sequence[int], outcome: DecisionOutcome) -> Ints:
        """Decisions of columns in which reliefs change the order; `keys` are scores without
        prices."""
        weights, names = self._weights(outcome), [self._sites[index].id for index in eligible]
        sites = [*zip(eligible, names, strict=True)]
        field = Field(
            np.stack([charges_us(name, self._prices[index]) for index, name in sites]),
            np.stack([tie_draws(name) for name in names]),
            np.stack([kept_buckets(name, weights[index]) for index, name in sites]),
            np.array([weights[index] == 100 for index in eligible]),
        )
        rows: dict[bytes, int] = {}
        decisions = []
        for chosen in chosen_by_bucket(keys, field):
            found = rows.get(chosen.tobytes())
            if found is None:
                row = self._row_of(np.array(eligible)[chosen], outcome)
                found = rows[chosen.tobytes()] = self._decision(row)
            decisions.append(found)
        return np.array(decisions)

    def _no_region(self, outcome: DecisionOutcome) -> Answer:
        fallback = self._service.fallback if outcome == "fallback" else ()
        return Answer(
            "",
            outcome,
            (),
            tuple(each for each in fallback if each.version == 4),
            tuple(each for each in fallback if each.version == 6),
            self._lifetimes.ttl(None),
        )

    def _decision_of(self, order: PreferenceOrder, outcome: DecisionOutcome) -> int:
        found = self._orders.get((order, outcome))
        if found is None:
            found = self._orders[(order, outcome)] = self._decision(self._row(order, outcome))
        return found

    def _row(self, order: PreferenceOrder, outcome: DecisionOutcome) -> npt.NDArray[np.uint32]:
        """The answer id of every bucket for one preference order; see `decide._admit`."""
        chosen = np.full(BUCKETS, -1, dtype=np.int64)
        first, weights = None, self._weights(outcome)
        for group in order:
            members = np.array(group)
            hashes = np.stack([tie_draws(self._sites[index].id) for index in group])
            for ranked in np.argsort(hashes, axis=0, kind="stable"):
                nth_site = members[ranked]
                first = nth_site if first is None else first
                for index in group:
                    keeps = kept_buckets(self._sites[index].id, weights[index])
                    keeps = (nth_site == index) & (chosen < 0) & keeps
                    chosen[keeps] = index
        assert first is not None
        return self._row_of(np.where(chosen < 0, first, chosen), outcome)

    def _row_of(self, chosen: Ints, outcome: DecisionOutcome) -> npt.NDArray[np.uint32]:
        """The answer id of every bucket; `chosen` holds the site index of every bucket."""
        row = np.empty(BUCKETS, dtype=np.uint32)
        for index in np.flatnonzero(np.bincount(chosen)):
            here = chosen == index
            row[here] = self._site_answers(int(index), outcome)[here]
        return row

    def _weights(self, outcome: DecisionOutcome) -> Sequence[int]:
        return self._steering.weights(self._service, self._pool, ignore_health=outcome == "open")

    def _site_answers(self, index: int, outcome: DecisionOutcome) -> npt.NDArray[np.uint32]:
        """The answer id of every bucket at one site."""
        found = self._of_site.get((index, outcome))
        if found is None:
            found = self._of_site[(index, outcome)] = self._choose(index, outcome)
        return found

    def _choose(self, index: int, outcome: DecisionOutcome) -> npt.NDArray[np.uint32]:
        site = self._sites[index]
        endpoints = self._steering.usable(
            self._service, self._pool, index, ignore_health=outcome == "open"
        )
        distinct, which = addresses_by_bucket(endpoints, self._service.answers)
        ttl = self._lifetimes.ttl(site)
        ids = [
            self._id(Answer(site.id, outcome, tuple(each.id for each in named), ipv4, ipv6, ttl))
            for named, ipv4, ipv6 in distinct
        ]
        row: npt.NDArray[np.uint32] = np.array(ids, dtype=np.uint32)[np.array(which)]
        return row

    def _id(self, answer: Answer) -> int:
        return self._ids.setdefault(answer, len(self._ids))

    def _constant(self, answer: Answer) -> int:
        return self._decision(np.full(BUCKETS, self._id(answer), dtype=np.uint32))

    def _decision(self, row: npt.NDArray[np.uint32]) -> int:
        """The id of the decision with this row; a row of one repeated answer is stored as the
        answer's id."""
        found = self._decision_ids.get(row.tobytes())
        if found is None:
            found = self._decision_ids[row.tobytes()] = len(self.decisions)
            if (row == row[0]).all():
                self.decisions.append(int(row[0]))
            else:
                self.decisions.append(-2 - len(self.rows))
                self.rows.append(row)
        return found
