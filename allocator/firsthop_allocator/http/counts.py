"""Counters of the allocator: plain integers on the hot path, Prometheus families when scraped."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import accumulate
from typing import Literal

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from firsthop_allocator.allocations.exploring import Allowance
from firsthop_allocator.allocations.route import SessionRoute
from firsthop_allocator.allocations.state import Holder
from firsthop_allocator.http.callers import RequestClient
from firsthop_allocator.measuring.samples import SampleQueue
from firsthop_geodata.prefixes import normalise
from firsthop_steering.feed.demand import AnswerSurvey
from firsthop_steering.feed.snapshot import age_s

BOUNDS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0)
"""Upper bounds of the duration buckets; the budget's p99 is 10 ms, a body's time-out 5 s."""


class AllocatorCounters:
    """One process's counters. Labels come from the plan and the routes, never from callers."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        """HTTP requests by route and status."""
        self.allocations: Counter[tuple[str, str, str]] = Counter()
        """Allocations asked for, by service, region of the first relay, and result. Service and
        region may be "" if the request failed."""
        self.explored: Counter[tuple[str, str]] = Counter()
        """Allocations with a relay to explore, by service and that relay's region."""
        self.allowance = Allowance()
        """How many more allocations may explore."""
        self.survey = AnswerSurvey()
        """A sample of the clients, by service and region."""
        self.samples = SampleQueue()
        """Round trips that browsers measured."""
        self._durations = [0] * (len(BOUNDS_S) + 1)
        self._seconds = 0.0

    def granted(
        self,
        route: SessionRoute,
        result: Literal["allocated", "session"],
        subject: RequestClient,
        share: float,
    ) -> None:
        """Count one more allocation and its client; `share` of all allocations may explore."""
        self.allocations[route.service, route.entry, result] += 1
        self.explored.update((route.service, region) for region in route.explored)
        self.allowance.count(share, explores=bool(route.explored))
        family, key, _ = normalise(subject.address)
        self.survey.note((route.service, route.entry), family, key)

    def observe(self, seconds: float) -> None:
        """Count the duration of one allocation request, from its head to its answer."""
        self._durations[bisect_left(BOUNDS_S, seconds)] += 1
        self._seconds += seconds

    def durations(self) -> tuple[list[tuple[str, float]], float]:
        """Cumulative buckets as Prometheus needs them, and the sum in seconds."""
        ends = [*map(str, BOUNDS_S), "+Inf"]
        totals = map(float, accumulate(self._durations))
        return list(zip(ends, totals, strict=True)), self._seconds


class AllocatorCollector(Collector):
    """Counters and the state of the holder."""

    def __init__(
        self, counts: AllocatorCounters, holder: Holder, clock: Callable[[], datetime]
    ) -> None:
        self._counts = counts
        self._holder = holder
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """All families."""
        requests = CounterMetricFamily(
            "firsthop_allocator_requests", "HTTP requests", labels=("route", "status")
        )
        for (route, status), value in list(self._counts.requests.items()):
            requests.add_metric((route, str(status)), value)
        yield requests
        allocations = CounterMetricFamily(
            "firsthop_allocations", "Allocations asked for", labels=("service", "region", "result")
        )
        for labels, value in list(self._counts.allocations.items()):
            allocations.add_metric(labels, value)
        yield allocations
        explored = CounterMetricFamily(
            "firsthop_allocations_explored",
            "Allocations with a relay that was offered only to be measured, by its region",
            labels=("service", "region"),
        )
        for pair, value in list(self._counts.explored.items()):
            explored.add_metric(pair, value)
        yield explored
        samples = CounterMetricFamily(
            "firsthop_client_samples",
            "Round trips that browsers reported; overflowed ones were counted as taken before",
            labels=("result",),
        )
        for result, value in self._counts.samples.results.items():
            samples.add_metric((result,), value)
        yield samples
        buckets, total = self._counts.durations()
        yield HistogramMetricFamily(
            "firsthop_allocation_duration_seconds",
            "Time from the head of an allocation request to its answer",
            buckets=buckets,
            sum_value=total,
        )
        yield from self._snapshot()

    def _snapshot(self) -> Iterator[Metric]:
        state = self._holder.state
        if state is None:
            return
        ages = GaugeMetricFamily(
            "firsthop_snapshot_age_seconds",
            "Time since the control plane made the snapshot in use",
            labels=("kind",),
        )
        numbers = GaugeMetricFamily(
            "firsthop_snapshot_number", "Number of the snapshot in use", labels=("kind",)
        )
        now = self._clock()
        plan, status = state.steering.topology.plan, state.steering.status
        for kind, snapshot in (("plan", plan), ("status", status)):
            ages.add_metric((kind,), age_s(snapshot, now))
            numbers.add_metric((kind,), snapshot.number)
        yield ages
        yield numbers
