"""What a decision is made of: candidates with their numbers, their order, the choice and why."""

from __future__ import annotations

from dataclasses import dataclass

from firsthop_steering.decision.charges import MAX_LEVEL, charged_us, relief_levels
from firsthop_steering.decision.outcome import DecisionOutcome
from firsthop_steering.decision.rtt_map import RttSource
from firsthop_steering.decision.topology import Client, Rule, Site
from firsthop_steering.plan.model import Service


@dataclass(frozen=True, slots=True)
class Candidate:
    """One region as the decision saw it; times in milliseconds, distance in kilometres."""

    site: Site
    rtt_ms: float
    rtt_source: RttSource
    base_us: int
    """RTT less bias, in microseconds: the score before prices."""
    price_us: int
    """The list price; what a client pays of it is for its bucket to say."""
    tier: int
    """Place in the override's list; equal for all where none speaks."""
    weight: int
    """Per cent that it keeps of those who reach it: less than its own while its relays start
    slowly."""
    up: int
    """Endpoints that may be answered with now."""
    ineligible_reason: str
    """Why it is not eligible; empty when it is."""
    full: bool = False
    """It is asked after all others, as it has no room for more sessions."""

    def charged_us(self, drawn: int) -> int:
        """What clients of this bucket pay."""
        if not self.price_us:
            return 0
        return charged_us(self.price_us, int(relief_levels(self.site.id)[drawn]))

    def scores_us(self) -> tuple[int, int]:
        """The lowest and the highest score of any bucket."""
        least = charged_us(self.price_us, MAX_LEVEL)
        return self.base_us + least, self.base_us + self.price_us


@dataclass(frozen=True, slots=True)
class Ranking:
    """All candidates for clients of one column and rule: eligible ones first, in order of score at
    list prices."""

    candidates: tuple[Candidate, ...]
    eligible: int
    outcome: DecisionOutcome
    rule: Rule | None
    ties: tuple[slice, ...]
    """Eligible ones, neighbours in `candidates`, whose order depends on the bucket."""
    admits_all: bool
    """The first keeps everybody and stands alone, and no price reorders those behind it: no bucket
    has to be looked at."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Where one client is sent, and why."""

    service: Service
    client: Client
    column: int
    """Of `decision.rtt_map`: all clients in it have the same round trips and cell."""
    ranking: Ranking
    preferences: tuple[Candidate, ...]
    """Eligible candidates in the order in which this client asks them."""
    chosen: int | None
    """Index in `preferences`; None when no region answers."""
    bucket: int
    plan: int
    status: int

    @property
    def site(self) -> Site | None:
        """The region that was chosen."""
        return None if self.chosen is None else self.preferences[self.chosen].site

    def charged_ms(self, candidate: Candidate) -> float:
        """What this client pays of a candidate's price."""
        return candidate.charged_us(self.bucket) / 1000

    def score_ms(self, candidate: Candidate) -> float:
        """RTT − bias + what this client pays."""
        return (candidate.base_us + candidate.charged_us(self.bucket)) / 1000

    @property
    def reason(self) -> str:
        """The choice in one sentence."""
        if self.chosen is None:
            return f"no region is left; when_all_down is {self.ranking.outcome}"
        what = "lowest score among the eligible"
        if self.ranking.rule is not None:
            what += f" under override {self.ranking.rule.id}"
        if self.chosen > 0:
            what = f"kept by weight after {self.chosen} nearer did not keep this client"
        if self.ranking.outcome == "open":
            what += "; no relay is up, so health is ignored"
        return what

    def fate(self, candidate: Candidate) -> str:
        """What became of one candidate of `ranking`."""
        if candidate.ineligible_reason:
            return candidate.ineligible_reason
        place = next(i for i, each in enumerate(self.preferences) if each is candidate)
        if place == self.chosen:
            return "chosen"
        if candidate.full:
            return "eligible, but full, so others are asked first"
        if self.chosen is None or place > self.chosen:
            return "eligible, but an earlier one kept the client"
        return f"weight {candidate.weight} does not keep this client's prefix"
