"""The values of a decision: candidates with their numbers, ranking, choice and reason."""

from __future__ import annotations

from dataclasses import dataclass

from firsthop_steering.decision.charges import MAX_LEVEL, charged_us, relief_levels
from firsthop_steering.decision.outcome import DecisionOutcome
from firsthop_steering.decision.rtt_map import RttSource
from firsthop_steering.decision.topology import Client, Rule, Site
from firsthop_steering.plan.model import Service


@dataclass(frozen=True, slots=True)
class Candidate:
    """One region as the decision saw it."""

    site: Site
    rtt_ms: float
    rtt_source: RttSource
    base_us: int
    """RTT − bias, in microseconds: the score before prices."""
    price_us: int
    """The list price; the bucket determines which part of it a client pays."""
    tier: int
    """Position in the override's list; equal for all regions if no list applies."""
    weight: int
    """Per cent that it keeps of the clients who reach it; reduced while all its relays are in a
    slow start."""
    up: int
    """Number of endpoints that may be answered with."""
    ineligible_reason: str
    """Empty if the region is eligible."""
    full: bool = False
    """Whether it has no room for more sessions; it then ranks behind all regions that have room."""

    def charged_us(self, drawn: int) -> int:
        """What clients of bucket `drawn` pay, in microseconds."""
        if not self.price_us:
            return 0
        return charged_us(self.price_us, int(relief_levels(self.site.id)[drawn]))

    def scores_us(self) -> tuple[int, int]:
        """The lowest and the highest score of any bucket, in microseconds."""
        lowest = charged_us(self.price_us, MAX_LEVEL)
        return self.base_us + lowest, self.base_us + self.price_us


@dataclass(frozen=True, slots=True)
class Ranking:
    """All candidates for the clients of one RTT column and rule.

    Eligible candidates come first, sorted by score at list prices.
    """

    candidates: tuple[Candidate, ...]
    eligible: int
    outcome: DecisionOutcome
    rule: Rule | None
    ties: tuple[slice, ...]
    """Slices of `candidates` (eligible ones only) whose order depends on the bucket."""
    admits_all: bool
    """The first candidate keeps all clients whatever their bucket, and no price reorders the rest;
    so the bucket does not matter."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The region chosen for one client, and the reason."""

    service: Service
    client: Client
    column: int
    """Column of the RTT map: all its clients have the same round trips and the same cell."""
    ranking: Ranking
    preferences: tuple[Candidate, ...]
    """Eligible candidates in this client's order."""
    chosen: int | None
    """Index in `preferences`; None if no region answers."""
    bucket: int
    plan: int
    status: int

    @property
    def site(self) -> Site | None:
        """The region that was chosen."""
        return None if self.chosen is None else self.preferences[self.chosen].site

    def charged_ms(self, candidate: Candidate) -> float:
        """The part of a candidate's price that this client pays."""
        return candidate.charged_us(self.bucket) / 1000

    def score_ms(self, candidate: Candidate) -> float:
        """RTT − bias + the price that this client pays."""
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
            also = " and drains are" if self.preferences[self.chosen].site.drained else " is"
            what += f"; no relay is up, so health{also} ignored"
        return what

    def fate(self, candidate: Candidate) -> str:
        """Why one candidate of `ranking` was chosen or not, in one sentence."""
        if candidate.ineligible_reason:
            return candidate.ineligible_reason
        rank = next(i for i, each in enumerate(self.preferences) if each is candidate)
        if rank == self.chosen:
            return "chosen"
        if candidate.full:
            return "eligible, but full, so others take precedence"
        if self.chosen is None or rank > self.chosen:
            return "eligible, but an earlier one kept the client"
        return f"weight {candidate.weight} does not keep this client's prefix"
