"""CPU time of a control plane's verdicts on a large fleet, which it evaluates every second.

    python bench/judge.py [--relays 2000] [--vantages 5] [--families 2] [--rounds 10]

A round is one report of each vantage, with new checks of all addresses, and one evaluation. Either
all relays stay up, or every tenth one alternates between up and down for all vantages.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, see below)

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

# This file's folder would make `import dns` find dns.py beside it instead of dnspython.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from firsthop_controlplane.health.health_state import HealthState
from firsthop_controlplane.health.status_changes import news
from firsthop_controlplane.health.verdicts import VerdictEvaluator
from firsthop_steering.feed.reports import ProbeReport, VantageView
from firsthop_steering.feed.snapshot import RelayStatus
from firsthop_steering.health.depool import Shares
from firsthop_steering.plan.model import Family, Relay

FAMILIES: tuple[Family, ...] = ("ipv4", "ipv6")
START = datetime(2026, 1, 1, tzinfo=UTC)
REGIONS = 50
TURNING = 10
"""One in this many relays is down in every other round."""


def fleet(count: int, families: int) -> list[Relay]:
    """Relays spread over the regions."""
    return [
        Relay(
            id=f"r{n}",
            region=f"g{n % REGIONS}",
            ipv4=IPv4Address(0x0A000000 + n),
            ipv6=IPv6Address((0x20010DB8 << 96) + n) if families > 1 else None,
        )
        for n in range(count)
    ]


def report(
    relays: list[Relay], families: int, vantage: str, now: datetime, down: int
) -> ProbeReport:
    """One vantage's report: of every TURNING relays the first `down` are down."""
    return ProbeReport(
        prober=vantage,
        vantage=vantage,
        sent_at=now,
        views=tuple(
            VantageView(
                relay=relay.id,
                family=family,
                verdict="down" if number % TURNING < down else "up",
                since=START,
                checked_at=now,
                reason="timeout" if number % TURNING < down else "",
            )
            for number, relay in enumerate(relays)
            for family in FAMILIES[:families]
        ),
    )


def spent(work: Callable[[], object]) -> float:
    """Milliseconds of this process's CPU time."""
    before = time.process_time()
    work()
    return 1000 * (time.process_time() - before)


def main() -> None:
    """Prints one line per step of a round."""
    options = argparse.ArgumentParser(description="CPU time of the control plane's verdicts.")
    options.add_argument("--relays", type=int, default=2000)
    options.add_argument("--vantages", type=int, default=5)
    options.add_argument("--families", type=int, default=2, choices=(1, 2))
    options.add_argument("--rounds", type=int, default=10)
    chosen = options.parse_args()
    relays = fleet(chosen.relays, chosen.families)
    vantages = [f"v{n}" for n in range(chosen.vantages)]
    print(f"{chosen.relays:,} relays x {chosen.families} addresses x {chosen.vantages} vantages")
    print(f"{'milliseconds of CPU, median of ' + str(chosen.rounds):38}  steady  turning")
    columns = [_rounds(relays, vantages, chosen.families, chosen.rounds, down) for down in (0, 1)]
    for step in columns[0]:
        steady, turning = (statistics.median(column[step]) for column in columns)
        print(f"{step:38} {steady:7.1f}  {turning:7.1f}")


def _rounds(
    relays: list[Relay], vantages: list[str], families: int, rounds: int, turning: int
) -> dict[str, list[float]]:
    health = HealthState(
        evaluator=VerdictEvaluator(10.0, Shares()),
        started_at=START,
        report_stale_after_s=30.0,
        settle_s=0.0,
    )
    steps: dict[str, list[float]] = {}
    told = health.statuses(relays, START)
    for number in range(rounds + 1):
        now, down = START + timedelta(seconds=number), turning * (number % 2)
        reports = [report(relays, families, vantage, now, down) for vantage in vantages]
        before, told = told, {}
        work: dict[str, Callable[[], object]] = {
            "take the reports of all vantages": partial(_take, health, reports, now),
            "judge every relay": partial(health.evaluate, relays, now),
            "say it to edges": partial(_say, health, relays, now, told),
            "find whether it is news": partial(news, before, told),
        }
        for step, do in work.items():
            steps.setdefault(step, []).append(spent(do))
    return {step: times[1:] for step, times in steps.items()}


def _take(health: HealthState, reports: list[ProbeReport], now: datetime) -> None:
    for each in reports:
        health.receive_results(each, now, token=each.vantage)


def _say(
    health: HealthState, relays: list[Relay], now: datetime, told: dict[str, RelayStatus]
) -> None:
    told.update(health.statuses(relays, now))


if __name__ == "__main__":
    main()
