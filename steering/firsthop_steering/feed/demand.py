"""Demand reports of edges: counted answers, and a sample of the clients that got them.

Answers are counted exactly, by service and region. Clients are sampled: the prefixes noted for some
answers represent all answers of that region in the same report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal

from pydantic import Field, model_validator

from firsthop_steering.plan.model import AwareTime, Family, Slug
from firsthop_steering.rtt.samples import prefix_of
from firsthop_zones.model import Model

SAMPLED = 7
"""Bit mask: a DNS answer is sampled if its region's count has none of these bits, so every eighth
answer is."""
MAX_NOTED = 500
"""Maximum number of samples kept between two calls of `take`, one second apart; further ones are
dropped."""
MAX_CLIENTS = 5000
"""Maximum number of distinct prefixes in one report."""


class AnswerSurvey:
    """The clients sampled since the last `take`; `what` identifies service and region."""

    __slots__ = ("_noted",)

    def __init__(self) -> None:
        self._noted: list[tuple[Hashable, int, int]] = []

    def note(self, what: Hashable, family: int, key: int) -> None:
        """Records a client by family and key (`firsthop_geodata.prefixes.normalise`)."""
        if len(self._noted) < MAX_NOTED:
            self._noted.append((what, family, key))

    def take(self) -> Counter[tuple[Hashable, int]]:
        """Returns the count of each (`what`, prefix) and resets the survey."""
        noted, self._noted = self._noted, []
        return Counter((what, prefix_of(family, key)) for what, family, key in noted)


def prefix_text(prefix: int) -> str:
    """The text of a prefix number (`prefix_of`): `192.0.2.0/24` or `2001:db8::/48`."""
    if prefix < 1 << 24:
        return str(IPv4Network((prefix << 8, 24)))
    return str(IPv6Network(((prefix & (1 << 48) - 1) << 80, 48)))


class AnswersOfRegion(Model):
    """The answers of one service with one region, and a sample of their clients."""

    service: Slug
    source: Literal["dns", "allocations"]
    region: str = Field(max_length=63)
    """The region of the answers; the outcome if there was no region."""
    family: Family | None = None
    """The family of the addresses, if the regions of the two families may differ."""
    answers: int = Field(ge=1, le=10**12)
    clients: dict[str, Annotated[int, Field(ge=1, le=10**9)]] = Field(min_length=1)
    """`192.0.2.0/24` or `2001:db8::/48` → number of samples."""


class DemandReport(Model):
    """The answers of one edge in an interval."""

    since: AwareTime
    until: AwareTime
    answers: tuple[AnswersOfRegion, ...] = Field(max_length=20_000)

    @model_validator(mode="after")
    def _bounded(self) -> DemandReport:
        if self.until < self.since:
            raise ValueError("until lies before since")
        if sum(len(each.clients) for each in self.answers) > MAX_CLIENTS:
            raise ValueError(f"clients: a report has at most {MAX_CLIENTS} prefixes")
        return self
