"""Whom the depool guard counts: relays whose measurement decides about answers, and no others."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

from firsthop_controlplane.health.health_state import HealthState
from firsthop_controlplane.health.verdicts import Guarded, VerdictEvaluator
from firsthop_steering.feed.reports import ProbeReport, VantageView
from firsthop_steering.health.depool import Shares
from firsthop_steering.plan.model import Forced, Relay

T0 = datetime(2026, 1, 1, tzinfo=UTC)
UNTIL = T0 + timedelta(seconds=60)


def relay(number: int, forced: Forced | None = None) -> Relay:
    """`r1`, alone in its region."""
    address = IPv4Address(f"192.0.2.{number}")
    return Relay(id=f"r{number}", region=f"g{number}", ipv4=address, forced=forced)


class Fleet:
    """Some relays, and three vantages who agree on which are down."""

    def __init__(self, *relays: Relay) -> None:
        self.relays = relays
        self.health = HealthState(
            evaluator=VerdictEvaluator(10, Shares()),
            started_at=T0,
            report_stale_after_s=30,
            settle_s=0,
        )

    def down(self, seconds: float, names: Iterable[str]) -> set[str]:
        """Those that are down by verdict, when these are seen down and all others up."""
        now, seen = T0 + timedelta(seconds=seconds), set(names)
        for vantage in "abc":
            views = tuple(
                VantageView(
                    relay=each.id,
                    verdict="down" if each.id in seen else "up",
                    since=now,
                    checked_at=now,
                    reason="timeout" if each.id in seen else "",
                )
                for each in self.relays
            )
            report = ProbeReport(prober=vantage, vantage=vantage, sent_at=now, views=views)
            assert self.health.receive_results(report, now, token=vantage)
        self.health.evaluate(self.relays, now)
        verdicts = self.health.verdicts
        return {name for name, each in verdicts.items() if each.verdict == "down"}

    @property
    def guarded(self) -> set[Guarded]:
        return set(self.health.evaluator.guarded)


def test_relays_that_an_operator_forces_use_up_nothing() -> None:
    """Half of four may fall; two are forced down and dead, so one of the others may."""
    out = Forced(verdict="down", until=UNTIL)
    fleet = Fleet(relay(1, out), relay(2, out), relay(3), relay(4))
    assert fleet.down(0, []) == set()
    assert fleet.down(1, ["r1", "r2", "r3"]) == {"r1", "r2", "r3"}
    assert fleet.down(2, ["r1", "r2", "r3", "r4"]) == {"r1", "r2", "r3"}
    assert fleet.guarded == {Guarded("r4", "all")}


def test_when_the_operators_word_ends_the_relay_counts_again() -> None:
    """Those that have turned count, and stay as they are."""
    out = Forced(verdict="down", until=UNTIL)
    fleet = Fleet(relay(1, out), relay(2, out), relay(3), relay(4))
    dead = ["r1", "r2", "r3"]
    assert fleet.down(0, []) == set()
    assert fleet.down(1, dead) == set(dead)
    assert fleet.down(61, [*dead, "r4"]) == set(dead)
    assert fleet.guarded == {Guarded("r4", "all")}
