"""Reports what an edge answers to the control plane, every ten seconds; loses some when it is away.

Workers count answers and note some of the clients; see `firsthop_steering.feed.demand`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal

from firsthop.edge.reporting.posting import Poster
from firsthop_steering.feed.demand import MAX_CLIENTS, AnswersOfRegion, DemandReport

REPORT_S = 10.0
OLDEST_S = 60.0
"""What could not be told for so long is of no use any more."""

AnswerSource = Literal["dns", "allocations"]
AnswerLabels = tuple[AnswerSource, str, str]
"""Source, service and region."""
Totals = Mapping[str, Mapping[tuple[tuple[str, str], ...], float]]
_TAKEN = ("allocated", "session")


class DemandBoard:
    """What workers noted and is not told yet, beside the counts that it stands for."""

    def __init__(self) -> None:
        self._clients: dict[AnswerLabels, dict[str, int]] = {}
        self._told: dict[AnswerLabels, float] = {}
        """Of each count as much as was told."""

    def note(self, source: AnswerSource, rows: Iterable[tuple[str, str, str, int]]) -> None:
        """Rows of service, region, prefix and how often."""
        for service, region, prefix, count in rows:
            clients = self._clients.setdefault((source, service, region), {})
            clients[prefix] = clients.get(prefix, 0) + count

    def forget(self, totals: Totals) -> None:
        """What was noted, and counted, is too old to be told."""
        self._told = dict(_counts(totals))
        self._clients.clear()

    def due(self, totals: Totals) -> tuple[AnswersOfRegion, ...]:
        """What there is to tell: answers wait until a client of theirs was noted."""
        counts = dict(_counts(totals))
        clients = self._fewer()
        return tuple(
            AnswersOfRegion(
                service=service,
                source=source,
                region=region,
                answers=round(counts[source, service, region] - told),
                clients=noted,
            )
            for (source, service, region), noted in clients.items()
            if counts.get((source, service, region), 0)
            > (told := self._told.get((source, service, region), 0))
        )

    def told(self, answers: Iterable[AnswersOfRegion]) -> None:
        """These have arrived."""
        for each in answers:
            place: AnswerLabels = each.source, each.service, each.region
            self._told[place] = self._told.get(place, 0) + each.answers
        self._clients.clear()

    def _fewer(self) -> dict[AnswerLabels, dict[str, int]]:
        """What is noted, thinned out by chance if it is too much for a report."""
        flat = [(place, each) for place, noted in self._clients.items() for each in noted]
        if len(flat) > MAX_CLIENTS:
            flat = random.sample(flat, MAX_CLIENTS)
        fewer: dict[AnswerLabels, dict[str, int]] = {}
        for place, prefix in flat:
            fewer.setdefault(place, {})[prefix] = self._clients[place][prefix]
        return fewer


def _counts(totals: Totals) -> Iterator[tuple[AnswerLabels, float]]:
    for labels, value in totals.get("firsthop_region_answers_total", {}).items():
        of = dict(labels)
        yield ("dns", of["service"], of["region"]), value
    allocations: dict[AnswerLabels, float] = {}
    for labels, value in totals.get("firsthop_allocations_total", {}).items():
        of = dict(labels)
        if of["result"] in _TAKEN:
            place: AnswerLabels = "allocations", of["service"], of["region"]
            allocations[place] = allocations.get(place, 0) + value
    yield from allocations.items()


class DemandReporter:
    """Tells the control plane that feeds this edge."""

    def __init__(self, poster: Poster, board: DemandBoard, totals: Callable[[], Totals]) -> None:
        self._poster = poster
        self._board = board
        self._totals = totals

    async def run(self) -> None:
        """Until cancelled."""
        since = datetime.now(UTC)
        while True:
            await asyncio.sleep(REPORT_S * random.uniform(0.9, 1.1))  # noqa: S311
            until = datetime.now(UTC)
            if (until - since).total_seconds() > OLDEST_S:
                self._board.forget(self._totals())
                since = until
            elif await self._tell(since, until):
                since = until

    async def _tell(self, since: datetime, until: datetime) -> bool:
        """Whether there is nothing left to tell of the time until now."""
        answers = self._board.due(self._totals())
        if not answers:
            return True
        report = DemandReport(since=since, until=max(since, until), answers=answers)
        posted = await self._poster.post("/v1/demand", report.model_dump_json())
        if posted.error:
            return False
        self._board.told(answers)
        return True
