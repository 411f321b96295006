"""The decision: one pure function behind DNS, allocator, explain and simulation.

    eligible → score in ms, lowest first → admission by weight → relays of the region

`Steering` binds the inputs that rarely change: topology, status, learned RTT, prices, and the time
that expiries are compared with. `decide` then depends on service and client alone. A `Decision`
carries every candidate with its numbers and its outcome, so explain prints it without computing
anything again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate, pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from firsthop_steering.decision.candidates_up import (
    CandidatesUp,
    candidates_up,
    families_differ,
    of_family,
)
from firsthop_steering.decision.charges import prices_in_force
from firsthop_steering.decision.model import Candidate, Decision, Ranking
from firsthop_steering.decision.outcome import DecisionOutcome
from firsthop_steering.decision.rendezvous import bucket, kept_buckets, tie_draws
from firsthop_steering.decision.rtt_map import RttMap, RttSource
from firsthop_steering.decision.topology import Client, Endpoint, Pool, Rule, Site, Topology
from firsthop_steering.feed.snapshot import Prices, Status
from firsthop_steering.plan.model import Family, Service, State

Ignored = Sequence[Literal["health", "drains"]]
"""What `when_all_down: open` ignores."""
_LAST_RESORTS: tuple[Ignored, ...] = (("health",), ("health", "drains"))
_MEMO_ENTRIES = 65_536
_FULL_TIER = 1 << 32
"""Added to the tier of a full region: it ranks behind every region of an override's list."""


class Steering:
    """Decisions under one plan and one status, at one time, at one location."""

    def __init__(
        self,
        topology: Topology,
        status: Status,
        now: datetime,
        *,
        vantage: str | None = None,
        rtt: RttMap | None = None,
        prices: Prices | None = None,
        family: Family | None = None,
        both: Steering | None = None,
    ) -> None:
        """`vantage` names the location that answers; services whose view is local use its views.

        `rtt` must be a map of `topology`; by default it is the geographic prior. Default prices
        are 0. `family` is that of the addresses that are decided about (None: both, from one
        region), and `both` then the steering of both families.
        """
        self.topology = topology
        self.status = status
        self.now = now
        self.vantage = vantage
        self.rtt = rtt or RttMap(topology)
        self.prices = prices
        self._candidates: dict[tuple[Pool, str | None, tuple[str, ...] | None], CandidatesUp] = {}
        self._rules: dict[tuple[str, Pool], tuple[Rule, ...]] = both._rules if both else {}
        self._charges: dict[tuple[str, Pool], tuple[int, ...]] = {}
        self._memo: dict[object, Ranking] = {}
        self.family = family
        self._both = both
        self._of_family: dict[Family, Steering] = {}
        self._differs: dict[str, bool] = {}

    def of(self, service: Service, family: Family | None) -> Steering:
        """The steering that decides about the addresses of `family` for `service`; this one if the
        service steers families together, or if all of its regions have the same ones."""
        if family is None or not self.separates(service):
            return self
        return self.only(family)

    def separates(self, service: Service) -> bool:
        """Whether the two families may be answered with different regions."""
        return service.families == "separate" and self.families_differ(service)

    def families_differ(self, service: Service) -> bool:
        """Whether some regions of the service lack a family that others have."""
        found = self._differs.get(service.id)
        if found is None:
            pool = service.answer_pool
            available, sites = self.candidates_up(service, pool), self.topology.pools[pool]
            found = self._differs[service.id] = families_differ(available, sites, service)
        return found

    def only(self, family: Family) -> Steering:
        """The steering that decides as if endpoints had addresses of `family` alone."""
        found = self._of_family.get(family)
        if found is None:
            found = self._of_family[family] = Steering(
                self.topology,
                self.status,
                self.now,
                vantage=self.vantage,
                rtt=self.rtt,
                prices=self.prices,
                family=family,
                both=self,
            )
        return found

    def candidates_up(self, service: Service, pool: Pool) -> CandidatesUp:
        """The endpoints that may be answered with, in the view (local or global) of the service."""
        local = service.view == "local" and self.vantage is not None
        vantage, allowed = (self.vantage, service.regions) if local else (None, None)
        found = self._candidates.get((pool, vantage, allowed))
        if found is None:
            found = self._find_candidates(service, pool, vantage, allowed)
            self._candidates[pool, vantage, allowed] = found
        return found

    def _find_candidates(
        self,
        service: Service,
        pool: Pool,
        vantage: str | None,
        allowed: tuple[str, ...] | None,
    ) -> CandidatesUp:
        sites = self.topology.pools[pool]
        if self._both is None or self.family is None:
            return candidates_up(sites, self.status, vantage=vantage, now=self.now, allowed=allowed)
        available = self._both.candidates_up(service, pool)
        # Media regions are reached by relays, whatever the client's family.
        return available if pool == "media" else of_family(available, sites, self.family)

    def usable(
        self, service: Service, pool: Pool, site: int, *, ignore_health: bool
    ) -> tuple[Endpoint, ...]:
        """The endpoints that may be answered with; `site` is an index in the pool.

        With `ignore_health` those that operators enabled; if there are none, those that they drain.
        """
        available = self.candidates_up(service, pool)
        if not ignore_health:
            return available.up[site]
        return available.configured[site] or available.drained[site]

    def weights(self, service: Service, pool: Pool, *, ignore_health: bool) -> Sequence[int]:
        """Per cent of the clients reaching each site of the pool that the site keeps."""
        if ignore_health:
            return [site.weight for site in self.topology.pools[pool]]
        return self.candidates_up(service, pool).weights

    def prices_us(self, service: Service, pool: Pool) -> tuple[int, ...]:
        """The list price of each site, in microseconds; only relay regions have prices.

        A region that has relays up, but none of this family, is not lost.
        """
        if self._both is not None:
            return self._both.prices_us(service, pool)
        found = self._charges.get((service.id, pool))
        if found is None:
            sites = [site.id for site in self.topology.pools[pool]]
            up = self.candidates_up(service, pool).up
            lost = [site for site, endpoints in zip(sites, up, strict=True) if not endpoints]
            prices = self.prices if pool == "relays" else None
            found = self._charges[service.id, pool] = prices_in_force(prices, sites, lost)
        return found

    def rules(self, service: Service, pool: Pool) -> tuple[Rule, ...]:
        """The overrides in force, most specific first."""
        found = self._rules.get((service.id, pool))
        if found is None:
            found = self._rules[(service.id, pool)] = self.topology.rules(service, pool, self.now)
        return found

    def ineligible_reasons(
        self, service: Service, pool: Pool, rule: Rule | None, ignored: Ignored = ()
    ) -> list[str]:
        """For each site of the pool the reason why it is not eligible; empty if it is eligible."""
        allowed = service.transceiver_regions if pool == "media" else service.regions
        available = self.candidates_up(service, pool)
        reasons = []
        for index, site in enumerate(self.topology.pools[pool]):
            if allowed is not None and site.id not in allowed:
                reason = "the service does not allow it"
            elif rule is not None and rule.mode == "only" and site.id not in rule.regions:
                reason = f"override {rule.id} allows only {', '.join(rule.regions)}"
            elif rule is not None and rule.mode == "avoid" and site.id in rule.regions:
                reason = f"override {rule.id} avoids it"
            elif (
                "drains" in ignored
                and site.state is not State.DISABLED
                and available.drained[index]
            ):
                reason = ""
            elif site.state is not State.ACTIVE:
                reason = f"its state is {site.state}"
            elif site.weight == 0:
                reason = "its weight is 0"
            elif not available.configured[index]:
                others = self._both and self._both.candidates_up(service, pool).configured[index]
                reason = f"none of its endpoints is active{self._with_address if others else ''}"
            elif "health" not in ignored and not available.up[index]:
                others = self._both and self._both.candidates_up(service, pool).up[index]
                reason = f"none of its endpoints is up{self._with_address if others else ''}"
            else:
                reason = ""
            reasons.append(reason)
        return reasons

    @property
    def _with_address(self) -> str:
        """How a reason ends if endpoints are left that have only the other family."""
        return f" and has an {'IPv6' if self.family == 'ipv6' else 'IPv4'} address"

    def eligibility(
        self, service: Service, pool: Pool, rule: Rule | None
    ) -> tuple[list[str], DecisionOutcome]:
        """`ineligible_reasons`, and the outcome: `when_all_down` decides if all are ineligible.

        Open ignores health; if operators have drained everything, it ignores drains as well. For
        sessions only health is ignored: a refusal says why, and does not stay in caches.
        """
        reasons = self.ineligible_reasons(service, pool, rule)
        if not all(reasons):
            return reasons, "steered"
        if self._both and self._both.eligibility(service, pool, rule)[1] == "steered":
            return reasons, "closed"  # the other family is up: no address is better than a dead one
        if service.when_all_down == "open" or pool == "media":
            for ignored in _LAST_RESORTS[:1] if pool == "media" else _LAST_RESORTS:
                relaxed = self.ineligible_reasons(service, pool, rule, ignored)
                if not all(relaxed):
                    return relaxed, "open"
            return reasons, "closed"
        return reasons, service.when_all_down

    def decide(self, service: Service, client: Client) -> Decision:
        """The region that answers this client for this service."""
        pool: Pool = "relays" if service.pool == "relays" else "signalling"
        column = self.rtt.column(pool, client)
        return self._decide(service, client, pool, column)

    def decide_media(self, service: Service, client: Client, relay_region: int) -> Decision:
        """The transceiver region for the session; RTT is that from `relay_region` (an index)."""
        return self._decide(service, client, "media", relay_region)

    def _decide(self, service: Service, client: Client, pool: Pool, column: int) -> Decision:
        rule = next((r for r in self.rules(service, pool) if r.matches(client)), None)
        memo = (service.id, pool, column, rule.id if rule else None)
        ranking = self._memo.get(memo)
        if ranking is None:
            if len(self._memo) >= _MEMO_ENTRIES:
                self._memo.clear()
            ranking = self._memo[memo] = self._rank(service, pool, column, rule)
        drawn = bucket(client.family, client.key)
        preferences = ranking.candidates[: ranking.eligible]
        chosen: int | None = 0 if preferences else None
        if not ranking.admits_all:
            preferences = _in_order(preferences, ranking.ties, drawn)
            chosen = _admit(preferences, drawn)
        return Decision(
            service, client, column, ranking, preferences, chosen, drawn, self.topology.plan.number,
            self.status.number,
        )  # fmt: skip

    def _rank(self, service: Service, pool: Pool, column: int, rule: Rule | None) -> Ranking:
        reasons, outcome = self.eligibility(service, pool, rule)
        rtt, sources = self._rtt(pool, column)
        base = base_us(self.topology.pools[pool], rtt).tolist()
        prices = self.prices_us(service, pool)
        available = self.candidates_up(service, pool)
        # Only media regions are demoted when full: a DNS answer may be cached for longer than the
        # region stays full.
        full = available.full if pool == "media" else (False,) * len(available.full)
        weights = self.weights(service, pool, ignore_health=outcome == "open")
        candidates = [
            Candidate(
                site,
                int(rtt[index]) / 1000,
                sources[index],
                base[index],
                prices[index],
                tier(rule, site.id) + full[index] * _FULL_TIER,
                weights[index],
                len(available.up[index]),
                reasons[index],
                full[index],
            )
            for index, site in enumerate(self.topology.pools[pool])
        ]
        candidates.sort(
            key=lambda each: (bool(each.ineligible_reason), each.tier, each.scores_us()[1])
        )
        eligible = candidates[: sum(not each.ineligible_reason for each in candidates)]
        ties = _ties(eligible)
        return Ranking(
            tuple(candidates), len(eligible), outcome, rule, ties, _admits_all(eligible, ties)
        )

    def _rtt(self, pool: Pool, column: int) -> tuple[npt.NDArray[np.int64], Sequence[RttSource]]:
        """RTT of each site in microseconds, and its source."""
        if pool == "media":
            return self.topology.inner_rtt_us[:, column], ["prior"] * len(self.topology.pools[pool])
        return self.rtt.rtt_us(pool)[:, column], self.rtt.sources(pool, column)


def base_us(sites: Sequence[Site], rtt_us: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """RTT − bias in microseconds: the score before prices. `rtt_us` has one row per site."""
    bias = np.array([site.bias_us for site in sites], dtype=np.int64)
    return rtt_us - bias.reshape(-1, *[1] * (rtt_us.ndim - 1))


def tier(rule: Rule | None, site: str) -> int:
    """Position of a region in an override's list; 0 for all regions if no list applies."""
    if rule is None or rule.mode == "avoid":
        return 0
    return rule.regions.index(site) if site in rule.regions else len(rule.regions)


def _ties(eligible: Sequence[Candidate]) -> tuple[slice, ...]:
    """Runs of candidates whose score ranges overlap; `eligible` is sorted by highest score."""
    lows, highs = ([(each.tier, each.scores_us()[end]) for each in eligible] for end in (0, 1))
    behind = [*accumulate(reversed(lows), min)][::-1]
    """For each candidate the lowest score from it onwards."""
    cuts = [index for index in range(1, len(eligible)) if highs[index - 1] < behind[index]]
    runs = pairwise((0, *cuts, len(eligible)))
    return tuple(slice(first, end) for first, end in runs if end - first > 1)


def _in_order(
    preferences: tuple[Candidate, ...], ties: Sequence[slice], drawn: int
) -> tuple[Candidate, ...]:
    """The preference order of a bucket's clients; draws break ties between equal scores."""
    ordered = [*preferences]
    for run in ties:
        ordered[run] = sorted(
            preferences[run],
            key=lambda each: (
                each.tier,
                each.base_us + each.charged_us(drawn),
                int(tie_draws(each.site.id)[drawn]),
            ),
        )
    return tuple(ordered)


def _admit(preferences: Sequence[Candidate], drawn: int) -> int | None:
    """Index of the first site that keeps this bucket; 0 if no site keeps it."""
    for index, each in enumerate(preferences):
        if kept_buckets(each.site.id, each.weight)[drawn]:
            return index
    return 0 if preferences else None


def _admits_all(eligible: Sequence[Candidate], ties: Sequence[slice]) -> bool:
    if not eligible:
        return True
    if any(each.price_us for run in ties for each in eligible[run]):
        return False
    first_is_certain = not ties or ties[0].start > 0
    return first_is_certain and (eligible[0].weight == 100 or len(eligible) == 1)
