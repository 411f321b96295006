"""Clocks that step by an hour, of the control plane, of probers, of all: nobody goes blind."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import pytest

from firsthop_controlplane.health.health_state import HealthState
from firsthop_controlplane.health.verdict import Verdict
from firsthop_controlplane.health.verdicts import VerdictEvaluator
from firsthop_steering.feed.reports import ProbeReport, RelayReport, VantageView
from firsthop_steering.health.depool import Shares
from firsthop_steering.health.verdicts import Liveness
from firsthop_steering.plan.model import Relay

T0 = datetime(2026, 1, 1, tzinfo=UTC)
RELAY = Relay(id="r", region="fra", ipv4=IPv4Address("192.0.2.1"))
PROBERS = ("a", "b", "c")
STEP_AT, DEAD_AT, BACK_AT, END = 60, 70, 100, 130


class SteppingClocks:
    """Seconds of one relay and three probers; some clocks step at STEP_AT."""

    def __init__(self, step_s: float, whose: tuple[str, ...]) -> None:
        self._step_s, self._whose = step_s, whose
        self._health = HealthState(
            evaluator=VerdictEvaluator(10, Shares()),
            started_at=T0,
            report_stale_after_s=30,
            settle_s=3,
        )
        self._health.inherit({"r": Verdict("up", T0, "as before")}, {})
        self.turned: list[tuple[int, str]] = []

    def clock(self, name: str, second: float) -> datetime:
        stepped = name in self._whose and second >= STEP_AT
        return T0 + timedelta(seconds=second + (self._step_s if stepped else 0))

    def run(self) -> None:
        for second in range(1, END):
            verdict: Liveness = "down" if DEAD_AT <= second < BACK_AT else "up"
            now = self.clock("control plane", second)
            for prober in PROBERS:
                # A prober's clock may step between a check and the report of it.
                checked_at = self.clock(prober, second - 0.5)
                view = VantageView(relay="r", verdict=verdict, since=T0, checked_at=checked_at)
                report = ProbeReport(
                    prober=prober,
                    vantage=prober,
                    sent_at=self.clock(prober, second),
                    views=(view,),
                )
                self._health.receive_results(report, now, token=report.vantage)
            if self._health.evaluate([RELAY], now):
                self.turned.append((second, self._health.verdicts["r"].verdict))


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
@pytest.mark.parametrize(
    "whose",
    [
        ("control plane",),
        ("a",),
        ("control plane", "a"),
        PROBERS,
        ("control plane", *PROBERS),
    ],
)
def test_a_step_turns_nothing_and_hides_nothing(step_s: float, whose: tuple[str, ...]) -> None:
    """The relay that dies ten seconds later is down within two more, and back as soon."""
    world = SteppingClocks(step_s, whose)
    world.run()
    assert [verdict for _, verdict in world.turned] == ["down", "up"]
    (down, _), (up, _) = world.turned
    assert DEAD_AT <= down <= DEAD_AT + 2
    assert BACK_AT <= up <= BACK_AT + 2


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_an_agents_word_is_replaced_after_a_step_of_all_clocks(step_s: float) -> None:
    """What it says next counts, and a running agent is never thought to repeat itself."""
    world = SteppingClocks(step_s, ("agent", "control plane"))
    health = world._health
    for second in (STEP_AT - 2, STEP_AT, STEP_AT + 2):
        now = world.clock("control plane", second)
        report = RelayReport(sequence=second, sent_at=now, draining=second > STEP_AT)
        assert health.receive_report("r", report, now, token="t")
        health.evaluate([RELAY], now)
        assert health.statuses([RELAY], now)["r"].draining == (second > STEP_AT)
