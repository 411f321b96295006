"""Reports what an edge answers to the control plane, every ten seconds; loses some when it is away.

Workers count answers and note some of the clients; see `firsthop_steering.demand`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import aiohttp
import structlog

from firsthop_steering.demand import MOST_CLIENTS, AnswersOfRegion, DemandReport

log = structlog.get_logger(__name__)

REPORT_S = 10.0
TIMEOUT_S = 5.0
OLDEST_S = 60.0
"""What could not be told for so long is of no use any more."""

Source = Literal["dns", "allocations"]
Place = tuple[Source, str, str]
"""Source, service and region."""
Totals = Mapping[str, Mapping[tuple[tuple[str, str], ...], float]]
_TAKEN = ("allocated", "session")


class DemandBoard:
    """What workers noted and is not told yet, beside the counts that it stands for."""

    def __init__(self) -> None:
        self._clients: dict[Place, dict[str, int]] = {}
        self._told: dict[Place, float] = {}
        """Of each count as much as was told."""

    def note(self, source: Source, rows: Iterable[tuple[str, str, str, int]]) -> None:
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
            place: Place = each.source, each.service, each.region
            self._told[place] = self._told.get(place, 0) + each.answers
        self._clients.clear()

    def _fewer(self) -> dict[Place, dict[str, int]]:
        """What is noted, thinned out by chance if it is too much for a report."""
        flat = [(place, each) for place, noted in self._clients.items() for each in noted]
        if len(flat) > MOST_CLIENTS:
            flat = random.sample(flat, MOST_CLIENTS)
        fewer: dict[Place, dict[str, int]] = {}
        for place, prefix in flat:
            fewer.setdefault(place, {})[prefix] = self._clients[place][prefix]
        return fewer


def _counts(totals: Totals) -> Iterator[tuple[Place, float]]:
    for labels, value in totals.get("firsthop_region_answers_total", {}).items():
        of = dict(labels)
        yield ("dns", of["service"], of["region"]), value
    allocations: dict[Place, float] = {}
    for labels, value in totals.get("firsthop_allocations_total", {}).items():
        of = dict(labels)
        if of["result"] in _TAKEN:
            place: Place = "allocations", of["service"], of["region"]
            allocations[place] = allocations.get(place, 0) + value
    yield from allocations.items()


class DemandReporter:
    """Tells the control plane that feeds this edge."""

    def __init__(
        self, token: str, board: DemandBoard, totals: Callable[[], Totals], url: Callable[[], str]
    ) -> None:
        """`url` says which control plane is followed; empty while none is."""
        self._headers = {"Authorization": f"Bearer {token}"}
        self._board = board
        self._totals = totals
        self._url = url
        self.last_error = ""
        """Why the last report was not taken; empty when it was."""

    async def run(self) -> None:
        """Until cancelled."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        since = datetime.now(UTC)
        async with aiohttp.ClientSession(headers=self._headers, timeout=timeout) as session:
            while True:
                await asyncio.sleep(REPORT_S * random.uniform(0.9, 1.1))  # noqa: S311
                until = datetime.now(UTC)
                if (until - since).total_seconds() > OLDEST_S:
                    self._board.forget(self._totals())
                    since = until
                elif await self._tell(session, since, until):
                    since = until

    async def _tell(self, session: aiohttp.ClientSession, since: datetime, until: datetime) -> bool:
        """Whether there is nothing left to tell of the time until now."""
        answers, url = self._board.due(self._totals()), self._url()
        if not answers:
            return True
        if not url:
            self.last_error = "no control plane is followed"
            return False
        report = DemandReport(since=since, until=max(since, until), answers=answers)
        error = await self._post(session, f"{url.rstrip('/')}/v1/demand", report.model_dump_json())
        if error and not self.last_error:
            log.warning("demand not told", url=url, reason=error)
        self.last_error = error
        if error:
            return False
        self._board.told(answers)
        return True

    async def _post(self, session: aiohttp.ClientSession, url: str, body: str) -> str:
        """Why it was not taken; empty when it was."""
        headers: dict[str, Any] = {"Content-Type": "application/json"}
        try:
            async with session.post(url, data=body, headers=headers) as response:
                return "" if response.status < 300 else f"answers {response.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return str(error) or type(error).__name__
