"""The decision: one pure function behind DNS, allocator, explain and simulation.

    eligible → score in ms, lowest first → admission by weight → relays of the region

`Steering` binds the inputs that rarely change (atlas, status, the moment that expiries are judged
by); `decide` then depends on service and client alone. A `Decision` carries every candidate with
its numbers and what became of it: explain prints it, nothing computes it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import numpy as np
import numpy.typing as npt

from firsthop_steering.atlas import Atlas, Client, Endpoint, Pool, Rule, Site
from firsthop_steering.decision import Candidate, Decision, Ranking
from firsthop_steering.model import Service, State
from firsthop_steering.outcome import Outcome
from firsthop_steering.rendezvous import bucket, draws, kept
from firsthop_steering.roster import Roster, roster
from firsthop_steering.snapshot import Status

_MEMO_ENTRIES = 65_536


class Steering:
    """Decisions under one plan and one status, as of one moment, at one place."""

    def __init__(
        self, atlas: Atlas, status: Status, now: datetime, *, vantage: str | None = None
    ) -> None:
        """`vantage` is the place of whoever answers: for services whose view is local."""
        self.atlas = atlas
        self.status = status
        self.now = now
        self.vantage = vantage
        self._rosters: dict[tuple[Pool, str | None, tuple[str, ...] | None], Roster] = {}
        self._rules: dict[tuple[str, Pool], tuple[Rule, ...]] = {}
        self._memo: dict[object, Ranking] = {}

    def roster(self, service: Service, pool: Pool) -> Roster:
        """Who may be answered with, in the view of this service."""
        local = service.view == "local" and self.vantage is not None
        vantage, allowed = (self.vantage, service.regions) if local else (None, None)
        found = self._rosters.get((pool, vantage, allowed))
        if found is None:
            sites = self.atlas.pools[pool]
            found = roster(sites, self.status, vantage=vantage, now=self.now, allowed=allowed)
            self._rosters[pool, vantage, allowed] = found
        return found

    def usable(
        self, service: Service, pool: Pool, site: int, *, ignore_health: bool
    ) -> tuple[Endpoint, ...]:
        """The endpoints of a site, by its index in the pool, that may be answered with."""
        field = self.roster(service, pool)
        return field.anyhow[site] if ignore_health else field.up[site]

    def weights(self, service: Service, pool: Pool, *, ignore_health: bool) -> Sequence[int]:
        """What each site of the pool keeps, in per cent of those who reach it."""
        if ignore_health:
            return [site.weight for site in self.atlas.pools[pool]]
        return self.roster(service, pool).weights

    def rules(self, service: Service, pool: Pool) -> tuple[Rule, ...]:
        """The overrides in force, most specific first."""
        found = self._rules.get((service.id, pool))
        if found is None:
            found = self._rules[(service.id, pool)] = self.atlas.rules(service, pool, self.now)
        return found

    def why_not(
        self, service: Service, pool: Pool, rule: Rule | None, *, ignore_health: bool
    ) -> list[str]:
        """For each site of the pool the reason why it may not answer; empty where it may."""
        allowed = service.transceiver_regions if pool == "media" else service.regions
        field = self.roster(service, pool)
        reasons = []
        for index, site in enumerate(self.atlas.pools[pool]):
            if allowed is not None and site.id not in allowed:
                reason = "the service does not allow it"
            elif rule is not None and rule.mode == "only" and site.id not in rule.regions:
                reason = f"override {rule.id} allows only {', '.join(rule.regions)}"
            elif rule is not None and rule.mode == "avoid" and site.id in rule.regions:
                reason = f"override {rule.id} avoids it"
            elif site.state is not State.ACTIVE:
                reason = f"its state is {site.state}"
            elif site.weight == 0:
                reason = "its weight is 0"
            elif not field.anyhow[index]:
                reason = "none of its endpoints is active"
            elif not ignore_health and not field.up[index]:
                reason = "none of its endpoints is up"
            else:
                reason = ""
            reasons.append(reason)
        return reasons

    def eligibility(
        self, service: Service, pool: Pool, rule: Rule | None
    ) -> tuple[list[str], Outcome]:
        """`why_not`, and what that means: when nothing is left, `when_all_down` speaks."""
        reasons = self.why_not(service, pool, rule, ignore_health=False)
        if not all(reasons):
            return reasons, "steered"
        if service.when_all_down == "open" or pool == "media":
            relaxed = self.why_not(service, pool, rule, ignore_health=True)
            return (reasons, "closed") if all(relaxed) else (relaxed, "open")
        return reasons, service.when_all_down

    def decide(self, service: Service, client: Client) -> Decision:
        """Which region answers this client for this service."""
        pool: Pool = "relays" if service.pool == "relays" else "signalling"
        column = -1 if client.cell is None else client.cell
        rtt = self.atlas.rtt_us(pool)[:, column]
        source: Literal["prior", "unlocated"] = "unlocated" if column < 0 else "prior"
        return self._decide(service, client, pool, rtt, source, column)

    def decide_media(self, service: Service, client: Client, relay_region: int) -> Decision:
        """Which transceiver region takes the session, seen from the relay region's place."""
        rtt = self.atlas.inner_rtt_us[:, relay_region]
        return self._decide(service, client, "media", rtt, "prior", relay_region)

    def _decide(
        self,
        service: Service,
        client: Client,
        pool: Pool,
        rtt: npt.NDArray[np.int64],
        source: Literal["prior", "unlocated"],
        column: int,
    ) -> Decision:
        rule = next((r for r in self.rules(service, pool) if r.matches(client)), None)
        memo = (service.id, pool, column, rule.id if rule else None)
        ranking = self._memo.get(memo)
        if ranking is None:
            if len(self._memo) >= _MEMO_ENTRIES:
                self._memo.clear()
            ranking = self._memo[memo] = self._rank(service, pool, rtt, source, rule)
        drawn = bucket(client.family, client.key)
        walk = ranking.candidates[: ranking.eligible]
        chosen: int | None = 0 if walk else None
        if not ranking.admits_all:
            walk = tuple(sorted(walk, key=lambda each: _place(each, drawn)))
            chosen = _admit(walk, drawn)
        return Decision(
            service, client, ranking, walk, chosen, drawn, self.atlas.plan.number,
            self.status.number,
        )  # fmt: skip

    def _rank(
        self,
        service: Service,
        pool: Pool,
        rtt: npt.NDArray[np.int64],
        source: Literal["prior", "unlocated"],
        rule: Rule | None,
    ) -> Ranking:
        reasons, outcome = self.eligibility(service, pool, rule)
        scores = score_us(self.atlas.pools[pool], rtt)
        up = self.roster(service, pool).up
        weights = self.weights(service, pool, ignore_health=outcome == "open")
        candidates = [
            Candidate(
                site,
                int(rtt[index]) / 1000,
                source,
                int(scores[index]) / 1000,
                tier(rule, site.id),
                weights[index],
                len(up[index]),
                reasons[index],
            )
            for index, site in enumerate(self.atlas.pools[pool])
        ]
        candidates.sort(key=lambda each: (bool(each.dropped), each.tier, each.score_ms))
        eligible = sum(not each.dropped for each in candidates)
        return Ranking(
            tuple(candidates), eligible, outcome, rule, _admits_all(candidates[:eligible])
        )


def score_us(sites: Sequence[Site], rtt_us: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """rtt − bias + price in microseconds; `rtt_us` has one row a site."""
    change = np.array([site.price_us - site.bias_us for site in sites], dtype=np.int64)
    return rtt_us + change.reshape(-1, *[1] * (rtt_us.ndim - 1))


def tier(rule: Rule | None, site: str) -> int:
    """The place of a region in an override's list; 0 for all where there is no such list."""
    if rule is None or rule.mode == "avoid":
        return 0
    return rule.regions.index(site) if site in rule.regions else len(rule.regions)


def _place(candidate: Candidate, drawn: int) -> tuple[int, float, int]:
    return candidate.tier, candidate.score_ms, int(draws(candidate.site.id)[drawn])


def _admit(walk: Sequence[Candidate], drawn: int) -> int | None:
    """The first site that keeps this bucket; what nobody keeps goes to the first of all."""
    for index, each in enumerate(walk):
        if kept(each.site.id, each.weight)[drawn]:
            return index
    return 0 if walk else None


def _admits_all(eligible: Sequence[Candidate]) -> bool:
    if not eligible:
        return True
    first = eligible[0]
    alone = len(eligible) == 1 or (first.tier, first.score_ms) < (
        eligible[1].tier,
        eligible[1].score_ms,
    )
    return alone and (first.weight == 100 or len(eligible) == 1)
