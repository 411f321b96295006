"""Reports an edge's answers to the control plane every ten seconds; drops those a minute old.

Workers count answers and sample clients; see `firsthop_steering.feed.demand`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal, cast

from firsthop.edge.reporting.posting import Poster
from firsthop_steering.feed.demand import MAX_CLIENTS, AnswersOfRegion, DemandReport
from firsthop_steering.plan.model import Family

REPORT_S = 10.0
OLDEST_S = 60.0
"""Answers that could not be reported for this long are useless."""

AnswerSource = Literal["dns", "allocations"]
AnswerLabels = tuple[AnswerSource, str, str, Family | None]
"""Source, service, region, and family if the regions of both families may differ."""
SurveyRow = tuple[str, str, str, int] | tuple[str, str, str, int, str]
Totals = Mapping[str, Mapping[tuple[tuple[str, str], ...], float]]
_TAKEN = ("allocated", "session")


class DemandBuffer:
    """Sampled clients that are not reported yet, and the counts of answers that they represent."""

    def __init__(self) -> None:
        self._clients: dict[AnswerLabels, dict[str, int]] = {}
        self._reported: dict[AnswerLabels, float] = {}
        """The part of each count that was reported."""

    def note(self, source: AnswerSource, rows: Iterable[SurveyRow]) -> None:
        """Add rows of service, region, prefix, count and, if it matters, family."""
        for service, region, prefix, count, *family in rows:
            labels: AnswerLabels = source, service, region, _family(*family)
            clients = self._clients.setdefault(labels, {})
            clients[prefix] = clients.get(prefix, 0) + count

    def forget(self, totals: Totals) -> None:
        """Drop all clients and counts so far, because they are too old to be reported."""
        self._reported = dict(_counts(totals))
        self._clients.clear()

    def due(self, totals: Totals) -> tuple[AnswersOfRegion, ...]:
        """The answers to report; those without a sampled client wait for one."""
        counts = dict(_counts(totals))
        clients = self._fewer()
        return tuple(
            AnswersOfRegion(
                service=service,
                source=source,
                region=region,
                family=family,
                answers=round(counts[labels] - reported),
                clients=noted,
            )
            for labels, noted in clients.items()
            for source, service, region, family in (labels,)
            if counts.get(labels, 0) > (reported := self._reported.get(labels, 0))
        )

    def reported(self, answers: Iterable[AnswersOfRegion]) -> None:
        """Note that the control plane has received these answers."""
        for each in answers:
            labels: AnswerLabels = each.source, each.service, each.region, each.family
            self._reported[labels] = self._reported.get(labels, 0) + each.answers
        self._clients.clear()

    def _fewer(self) -> dict[AnswerLabels, dict[str, int]]:
        """The sampled clients, or a random part if they are too many for a report."""
        flat = [(labels, each) for labels, noted in self._clients.items() for each in noted]
        if len(flat) > MAX_CLIENTS:
            flat = random.sample(flat, MAX_CLIENTS)
        fewer: dict[AnswerLabels, dict[str, int]] = {}
        for labels, prefix in flat:
            fewer.setdefault(labels, {})[prefix] = self._clients[labels][prefix]
        return fewer


def _counts(totals: Totals) -> Iterator[tuple[AnswerLabels, float]]:
    for labels, value in totals.get("firsthop_region_answers_total", {}).items():
        of = dict(labels)
        yield ("dns", of["service"], of["region"], _family(of.get("family", ""))), value
    allocations: dict[AnswerLabels, float] = {}
    for labels, value in totals.get("firsthop_allocations_total", {}).items():
        of = dict(labels)
        if of["result"] in _TAKEN:
            key: AnswerLabels = "allocations", of["service"], of["region"], None
            allocations[key] = allocations.get(key, 0) + value
    yield from allocations.items()


def _family(label: str = "") -> Family | None:
    return cast(Family, label) if label else None


class DemandReporter:
    """Posts the demand to the control plane that feeds this edge."""

    def __init__(self, poster: Poster, buffer: DemandBuffer, totals: Callable[[], Totals]) -> None:
        self._poster = poster
        self._buffer = buffer
        self._totals = totals

    async def run(self) -> None:
        """Report until cancelled."""
        since = datetime.now(UTC)
        while True:
            await asyncio.sleep(REPORT_S * random.uniform(0.9, 1.1))  # noqa: S311
            until = datetime.now(UTC)
            if (until - since).total_seconds() > OLDEST_S:
                self._buffer.forget(self._totals())
                since = until
            elif await self._report(since, until):
                since = until

    async def _report(self, since: datetime, until: datetime) -> bool:
        """Post the answers that are due; returns False if that must be tried again."""
        answers = self._buffer.due(self._totals())
        if not answers:
            return True
        report = DemandReport(since=since, until=max(since, until), answers=answers)
        posted = await self._poster.post("/v1/demand", report.model_dump_json())
        if posted.error:
            return False
        self._buffer.reported(answers)
        return True
