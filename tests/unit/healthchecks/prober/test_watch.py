"""One target: what its checks add up to, and what a changed description keeps."""

from __future__ import annotations

import asyncio
import itertools
import selectors
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import pytest

from firsthop_healthchecks.prober.watch import Watch
from firsthop_healthchecks.probes import Failed, Passed, ProbeOutcome, Unable
from firsthop_healthchecks.schedule import Schedule
from firsthop_steering.feed.reports import ProbeTarget

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def target(**changes: Any) -> ProbeTarget:
    fields: dict[str, Any] = {
        "relay": "fra-1",
        "kind": "tcp",
        "address": ip_address("192.0.2.1"),
        "port": 3478,
        "interval_s": 1.0,
        "timeout_s": 0.8,
        "rise": 2,
        "fall": 3,
    }
    return ProbeTarget(**fields | changes)


class Scripted:
    """A probe that gives the outcomes it was told: `+`, `-`, `?` for unable, or `!` for a bug."""

    def __init__(self, outcomes: str) -> None:
        self.outcomes = iter(outcomes)
        self.checks = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def check(self, target: ProbeTarget) -> ProbeOutcome:
        self.checks.set()
        await self.gate.wait()
        outcome = next(self.outcomes, "+")
        if outcome == "!":
            raise RuntimeError("a bug of ours")
        if outcome == "?":
            return Unable("no network here")
        return Passed(1.5) if outcome == "+" else Failed("x" * 300)

    async def close(self) -> None:
        return


class Slow:
    """The first check fails once `late` is set; those after it pass at once."""

    def __init__(self) -> None:
        self.began, self.late = asyncio.Event(), asyncio.Event()

    async def check(self, target: ProbeTarget) -> ProbeOutcome:
        if self.began.is_set():
            return Passed(1.0)
        self.began.set()
        await self.late.wait()
        return Failed("silence")

    async def close(self) -> None:
        return


class Bench:
    """A watch with a scripted probe and a wall clock that ticks a second a look."""

    def __init__(self, outcomes: str, **changes: Any) -> None:
        self.turns = 0
        self.turned = asyncio.Event()
        self.probe = Scripted(outcomes)
        self.clock: Iterator[datetime] = iter(START + timedelta(seconds=n) for n in range(10**6))
        self.watch = Watch(
            target(**changes),
            probe=lambda _: self.probe,
            turned=self.turn,
            wall=lambda: next(self.clock),
            key="fra-1",
            start=0.0,
        )

    def turn(self) -> None:
        self.turns += 1
        self.turned.set()

    async def until(self, verdict: str) -> None:
        """The watch has come to this."""
        while self.watch.streak.verdict != verdict:
            self.turned.clear()
            await self.turned.wait()

    async def after(self, checks: int) -> str | None:
        for _ in range(checks):
            await self.watch.check()
        view = self.watch.view()
        return None if view is None else view.verdict


async def test_nothing_is_said_before_the_first_check() -> None:
    assert Bench("").watch.view() is None


async def test_a_success_is_up_with_its_duration() -> None:
    bench = Bench("+")
    assert await bench.after(1) == "up"
    view = bench.watch.view()
    assert view is not None
    assert (view.duration_ms, view.reason) == (1.5, "")
    assert view.since == view.checked_at == START
    assert bench.turns == 1


async def test_since_is_when_it_turned_and_checked_at_is_now() -> None:
    bench = Bench("++---")
    assert await bench.after(5) == "down"
    view = bench.watch.view()
    assert view is not None
    assert view.since == view.checked_at == START + timedelta(seconds=4)
    assert len(view.reason) == 200
    assert bench.turns == 2
    bench.probe.outcomes = iter("-")
    assert await bench.after(1) == "down"
    view = bench.watch.view()
    assert view is not None
    assert view.checked_at - view.since == timedelta(seconds=1)


async def test_undecided_is_unknown_and_reported() -> None:
    bench = Bench("--")
    assert await bench.after(2) == "unknown"
    assert bench.turns == 0


async def test_a_fault_of_ours_is_no_observation() -> None:
    """The view grows old instead: it stops counting, and votes nobody down."""
    bench = Bench("+!!!???")
    assert await bench.after(7) == "up"
    view = bench.watch.view()
    assert view is not None
    assert view.checked_at == START


@pytest.mark.parametrize(
    "changes", [{"address": ip_address("192.0.2.2")}, {"port": 1}, {"kind": "http"}]
)
async def test_another_place_starts_from_unknown(changes: dict[str, Any]) -> None:
    bench = Bench("+")
    await bench.after(1)
    bench.watch.retarget(target(**changes))
    assert bench.watch.view() is None
    assert bench.watch.streak.verdict == "unknown"


@pytest.mark.parametrize(
    "changes", [{"interval_s": 5}, {"timeout_s": 0.1}, {"ufrag": "A"}, {"rise": 9}, {"fall": 1}]
)
async def test_all_else_keeps_the_streak(changes: dict[str, Any]) -> None:
    bench = Bench("+--", fall=4)
    await bench.after(3)
    before = bench.watch.streak
    bench.watch.retarget(target(**changes))
    assert bench.watch.streak == before
    assert bench.watch.view() is not None


async def test_an_old_check_that_ends_late_is_old_news() -> None:
    """Checks overlap in a close look: what began before the last that counted does not count."""
    slow = Slow()
    watch = Watch(
        target(rise=1, fall=1), probe=lambda _: slow, turned=lambda: None, key="fra-1", start=0.0
    )
    first = asyncio.create_task(watch.check())
    await slow.began.wait()
    await watch.check()
    assert watch.streak.verdict == "up"
    slow.late.set()
    await first
    assert watch.streak.verdict == "up"


async def test_a_check_under_way_does_not_speak_for_another_place() -> None:
    bench = Bench("")
    bench.probe.gate.clear()
    checking = asyncio.create_task(bench.watch.check())
    await bench.probe.checks.wait()
    bench.watch.retarget(target(port=2))
    bench.probe.gate.set()
    await checking
    assert bench.watch.view() is None


class Instant(selectors.SelectSelector):
    """Waits for nothing: the loop's clock goes on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now += timeout or 0.0
        return super().select(0)


class Timed:
    """A probe that takes so long, by the loop's clock, and notes when it began."""

    def __init__(self, takes_s: Callable[[int], float], *, passes: bool = True) -> None:
        self.takes_s = takes_s
        self.outcome = Passed(1.0) if passes else Failed("refused")
        self.began: list[float] = []
        self.under_way = self.most_under_way = 0

    async def check(self, target: ProbeTarget) -> ProbeOutcome:
        self.began.append(asyncio.get_running_loop().time())
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(self.takes_s(len(self.began)))
        self.under_way -= 1
        return self.outcome

    async def close(self) -> None:
        return


def hours_of(seconds: float, probe: Timed, **changes: Any) -> list[float]:
    """When checks began, on a loop whose hours pass at once and a wall clock that jumps about."""
    selector = Instant()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    steps = itertools.cycle([0, 1, -1])

    async def story() -> None:
        watch = Watch(
            target(**changes),
            probe=lambda _: probe,
            turned=lambda: None,
            key="fra-1",
            start=1000.0,
            wall=lambda: START + timedelta(hours=next(steps)),
        )
        watch.start()
        await asyncio.sleep(seconds)
        task = watch.stop()
        assert task is not None
        await asyncio.wait([task])

    try:
        loop.run_until_complete(story())
    finally:
        loop.close()
    return probe.began


def test_an_hour_later_checks_are_where_they_belong() -> None:
    """Whatever checks took and wall clocks did: round n is at its own place, and none is lost."""
    schedule = Schedule.of("fra-1", start=1000.0, interval_s=1.0)
    began = hours_of(3600, Timed(lambda n: 0.7 * (n % 7) / 7))
    assert began == pytest.approx([schedule.at(n) for n in range(len(began))], abs=1e-6)
    assert 3599 <= len(began) <= 3600


def test_checks_that_outlast_the_interval_skip_rounds() -> None:
    """They never pile up, and those that are made are on time."""
    schedule = Schedule.of("fra-1", start=1000.0, interval_s=1.0)
    probe = Timed(lambda _: 2.5)
    began = hours_of(300, probe)
    assert probe.most_under_way == 1
    assert began == pytest.approx([schedule.at(n) for n in range(0, 300, 3)], abs=1e-6)


def test_rare_checks_begin_within_a_second() -> None:
    began = hours_of(3 * 600, Timed(lambda _: 0.1), interval_s=600)
    assert began[0] <= 1001.0
    schedule = Schedule.of("fra-1", start=1000.0, interval_s=600)
    assert began[1:] == pytest.approx([schedule.at(n) for n in range(3)], abs=1e-6)


def test_a_dead_target_that_is_checked_rarely_is_known_within_seconds() -> None:
    """`fall` checks a second apart; from then on it keeps to its rounds."""
    began = hours_of(3 * 600, Timed(lambda _: 0.1, passes=False), interval_s=600, fall=3)
    assert began[2] - began[0] == pytest.approx(2 * 1.1, abs=1e-6)
    schedule = Schedule.of("fra-1", start=1000.0, interval_s=600)
    assert began[3:] == pytest.approx([schedule.at(n) for n in range(3)], abs=1e-6)


async def test_it_checks_in_every_round_until_stopped() -> None:
    """Also after the interval changed from an hour to a tenth of a second."""
    bench = Bench("+" * 1000, interval_s=3600)
    bench.watch.start()
    async with asyncio.timeout(120):
        await bench.probe.checks.wait()
        bench.watch.retarget(target(interval_s=0.1))
        for _ in range(3):
            bench.probe.checks.clear()
            await bench.probe.checks.wait()
    task = bench.watch.stop()
    assert task is not None
    await asyncio.wait([task], timeout=60)
    assert task.cancelled()


async def test_a_nudge_has_it_checked_at_once_until_the_verdict_stands() -> None:
    """Long before its next round; a number that it had already asks nothing, and neither does 0."""
    bench = Bench("+---", interval_s=1000.0)
    bench.watch.start()
    try:
        async with asyncio.timeout(120):
            await bench.until("up")
            bench.watch.retarget(target(interval_s=1000.0, nudge=0))
            assert bench.watch.streak.verdict == "up"
            bench.watch.retarget(target(interval_s=1000.0, nudge=5))
            await bench.until("down")
    finally:
        bench.watch.stop()
