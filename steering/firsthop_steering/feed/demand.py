"""Where demand comes from: what edges count of answers, and a sample of who got them.

Answers are counted exactly, by service and region. Whose they were is only sampled: of some answers
the client's prefix is noted, and stands for all answers of that region in the same report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, model_validator

from firsthop_steering.plan.model import Slug
from firsthop_steering.rtt.samples import prefix_of
from firsthop_zones.model import Model

SAMPLED = 7
"""A DNS answer is noted when no bit of this is set in its region's count: every eighth."""
MAX_NOTED = 500
"""Between two looks, a second apart; what comes later in that second is not noted."""
MAX_CLIENTS = 5000
"""Different prefixes in one report."""


class AnswerSurvey:
    """Who was answered since the last look; `what` says with what (service and region)."""

    __slots__ = ("_noted",)

    def __init__(self) -> None:
        self._noted: list[tuple[Hashable, int, int]] = []

    def note(self, what: Hashable, family: int, key: int) -> None:
        """A client by family and key (`firsthop_geodata.prefixes.normalise`)."""
        if len(self._noted) < MAX_NOTED:
            self._noted.append((what, family, key))

    def take(self) -> Counter[tuple[Hashable, int]]:
        """How often each prefix was noted with what; begins anew."""
        noted, self._noted = self._noted, []
        return Counter((what, prefix_of(family, key)) for what, family, key in noted)


def prefix_text(prefix: int) -> str:
    """`192.0.2.0/24` or `2001:db8::/48`, of a number of `prefix_of`."""
    if prefix < 1 << 24:
        return str(IPv4Network((prefix << 8, 24)))
    return str(IPv6Network(((prefix & (1 << 48) - 1) << 80, 48)))


class AnswersOfRegion(Model):
    """The answers of one service that named one region, and whose some of them were."""

    service: Slug
    source: Literal["dns", "allocations"]
    region: str = Field(max_length=63)
    """What was answered with; where no region was, the outcome."""
    answers: int = Field(ge=1, le=10**12)
    clients: dict[str, Annotated[int, Field(ge=1, le=10**9)]] = Field(min_length=1)
    """`192.0.2.0/24` or `2001:db8::/48` → how often it was noted."""


class DemandReport(Model):
    """What one edge answered between two moments."""

    since: AwareDatetime
    until: AwareDatetime
    answers: tuple[AnswersOfRegion, ...] = Field(max_length=20_000)

    @model_validator(mode="after")
    def _bounded(self) -> DemandReport:
        if self.until < self.since:
            raise ValueError("until lies before since")
        if sum(len(each.clients) for each in self.answers) > MAX_CLIENTS:
            raise ValueError(f"clients: a report has at most {MAX_CLIENTS} prefixes")
        return self
