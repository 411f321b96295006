"""One target: what its checks add up to, and what a changed description keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import pytest

from firsthop_healthchecks.probes import Failed, Outcome, Passed, Unable
from firsthop_healthchecks.watch import Watch
from firsthop_steering.reports import ProbeTarget

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

    async def check(self, target: ProbeTarget) -> Outcome:
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


class Bench:
    """A watch with a scripted probe and a wall clock that ticks a second a look."""

    def __init__(self, outcomes: str, **changes: Any) -> None:
        self.turns = 0
        self.probe = Scripted(outcomes)
        self.clock: Iterator[datetime] = iter(START + timedelta(seconds=n) for n in range(10**6))
        self.watch = Watch(
            target(**changes),
            probe=lambda _: self.probe,
            turned=self.turn,
            wall=lambda: next(self.clock),
            chance=lambda: 0.0,
        )

    def turn(self) -> None:
        self.turns += 1

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


async def test_a_check_under_way_does_not_speak_for_another_place() -> None:
    bench = Bench("")
    bench.probe.gate.clear()
    checking = asyncio.create_task(bench.watch.check())
    await bench.probe.checks.wait()
    bench.watch.retarget(target(port=2))
    bench.probe.gate.set()
    await checking
    assert bench.watch.view() is None


async def test_it_checks_in_every_slot_until_stopped() -> None:
    """Also after the interval changed from an hour to a tenth of a second."""
    bench = Bench("+" * 1000, interval_s=3600)
    bench.watch.start()
    async with asyncio.timeout(5):
        await bench.probe.checks.wait()
        bench.watch.retarget(target(interval_s=0.1))
        for _ in range(3):
            bench.probe.checks.clear()
            await bench.probe.checks.wait()
    task = bench.watch.stop()
    assert task is not None
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()
