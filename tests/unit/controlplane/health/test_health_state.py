"""What was received, and the status that follows: freshness, order, clocks, restarts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Any

import pytest
import structlog

from firsthop_controlplane.health.health_state import HealthState
from firsthop_controlplane.health.last_reports import Received
from firsthop_controlplane.health.recheck import SILENT_AFTER_S
from firsthop_controlplane.health.status_changes import news, urgent
from firsthop_controlplane.health.verdict import Verdict
from firsthop_controlplane.health.verdicts import VerdictEvaluator
from firsthop_steering.feed.reports import ProbeReport, RelayReport, VantageView
from firsthop_steering.feed.snapshot import RelayStatus
from firsthop_steering.health.depool import Shares
from firsthop_steering.health.verdicts import Liveness
from firsthop_steering.plan.model import Probe, Relay

T0 = datetime(2026, 1, 1, tzinfo=UTC)
RELAY = Relay(id="r", region="fra", ipv4=IPv4Address("192.0.2.1"), capacity=100)


def _at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def _health(started: float = 0) -> HealthState:
    return HealthState(
        evaluator=VerdictEvaluator(10, Shares()),
        started_at=_at(started),
        report_stale_after_s=30,
        settle_s=3,
    )


def _report(
    prober: str, verdict: Liveness, at: float, skew: float = 0, relay: str = "r"
) -> ProbeReport:
    sent_at = _at(at + skew)
    view = VantageView(relay=relay, verdict=verdict, since=sent_at, checked_at=sent_at, reason="x")
    return ProbeReport(prober=prober, vantage=prober, sent_at=sent_at, views=(view,))


def _results(health: HealthState, report: ProbeReport, at: float) -> bool:
    return health.receive_results(report, _at(at), token=report.vantage)


def _verdict(health: HealthState, at: float) -> str:
    health.evaluate([RELAY], _at(at))
    return health.verdicts["r"].verdict


def test_a_report_replaces_the_one_before() -> None:
    """What a prober no longer mentions, it no longer says."""
    health = _health()
    _results(health, _report("a", "up", 0), 0)
    _results(health, _report("b", "up", 0), 0)
    assert _verdict(health, 0) == "up"
    for prober in ("a", "b"):
        _results(health, _report(prober, "down", 1, relay="other"), 1)
    assert _verdict(health, 1) == "up", "nobody to ask leaves it as it is"
    _results(health, _report("a", "down", 2), 2)
    assert _verdict(health, 2) == "down"


def test_a_relay_that_cannot_be_evaluated_freezes_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It keeps its verdict, and the log says so once."""
    health, other = _health(), RELAY.model_copy(update={"id": "other"})
    for relay in (RELAY, other):
        _results(health, _report("a" if relay is RELAY else "b", "up", 0, relay=relay.id), 0)
    health.evaluate([RELAY, other], _at(0))
    measured = VerdictEvaluator._measure

    def broken(evaluator: VerdictEvaluator, relay: Relay, *rest: Any) -> Any:
        if relay.id == "r":
            raise ValueError("year -7973 is out of range")
        return measured(evaluator, relay, *rest)

    monkeypatch.setattr(VerdictEvaluator, "_measure", broken)
    with structlog.testing.capture_logs() as logged:
        for second in (1, 2):
            _results(health, _report("b", "down", second, relay="other"), second)
            health.evaluate([RELAY, other], _at(second))
    assert {name: each.verdict for name, each in health.verdicts.items()} == {
        "r": "up", "other": "down",
    }  # fmt: skip
    assert [each["event"] for each in logged].count("verdict.failed") == 1


@pytest.mark.parametrize("skew", [-86400, -20, 0, 20, 86400])
def test_a_probers_clock_does_not_matter(skew: float) -> None:
    """Views are moved onto our clock: they count for 10 s from when they came, and no longer."""
    health = _health()
    assert _results(health, _report("a", "down", 0, skew), 0)
    assert _verdict(health, 0) == "down"
    assert _results(health, _report("b", "up", 9, -skew), 9)
    assert _verdict(health, 9) == "down", "a tie"
    assert _verdict(health, 11) == "up", "the older view is stale"


def test_an_overtaken_report_is_not_taken_unless_the_clock_was_set_back() -> None:
    """Within 10 s the later word stands; after that, a clock that went back is believed."""
    health = _health()
    assert _results(health, _report("a", "up", 100), 0)
    assert not _results(health, _report("a", "down", 99), 1)
    assert _results(health, _report("a", "down", 50), 11)


def test_rarely_checked_relays_are_not_stale_between_checks() -> None:
    """Three intervals, where those are longer than the common limit."""
    rare = RELAY.model_copy(update={"probe": Probe(interval_s=60)})
    health = _health()
    _results(health, _report("a", "down", 0), 0)
    _results(health, _report("b", "up", 0), 0)
    _results(health, _report("c", "up", 150), 150)
    health.evaluate([rare], _at(150))
    assert health.verdicts["r"].verdict == "up"
    assert "2 of 3" in health.verdicts["r"].reason


def test_after_a_restart_verdicts_stand_until_the_probers_had_time() -> None:
    """The first prober to report does not decide alone."""
    health = _health(started=100)
    health.inherit({"r": Verdict("up", _at(5), "as before")}, {})
    _results(health, _report("a", "down", 100.5), 100.5)
    assert _verdict(health, 100.5) == "up"
    for prober in ("b", "c"):
        _results(health, _report(prober, "up", 101.5), 101.5)
    assert _verdict(health, 103.5) == "up"
    assert health.verdicts["r"].since == _at(5)


def test_agents_words_count_in_order_and_for_a_while() -> None:
    """Older ones are refused, a restarted agent's are not, and silence ends them."""
    health = _health()

    def say(sequence: int, sent: float) -> bool:
        report = RelayReport(sequence=sequence, sent_at=_at(sent), sessions=50, draining=True)
        return health.receive_report("r", report, _at(sent), token="t")

    assert [say(1, 0), say(3, 2), say(2, 1), say(3, 2), say(0, 3), say(1, 4)] == [
        *(True, True, False, False, True, True)
    ]
    status = health.statuses([RELAY], _at(34))["r"]
    assert (status.sessions, status.load, status.draining) == (50, 0.5, True)
    silent = health.statuses([RELAY], _at(35))["r"]
    assert (silent.sessions, silent.load, silent.draining) == (None, None, False)


def test_what_left_the_plan_is_forgotten() -> None:
    """A relay that comes back under an old id starts as unknown."""
    health = _health()
    _results(health, _report("a", "down", 0), 0)
    report = RelayReport(sequence=1, sent_at=_at(0))
    health.receive_report("r", report, _at(0), token="t")
    assert _verdict(health, 0) == "down"
    health.evaluate([], _at(1))
    assert (health.verdicts, health.agents.received) == ({}, {})
    assert _verdict(health, 2) == "unknown"


def test_only_verdicts_and_draining_are_urgent() -> None:
    """Load is news; the sentence of a reason and the time of a report are neither."""
    up = RelayStatus(verdict="up", sessions=1, reason="a", reported_at=_at(0))
    same = up.model_copy(update={"reason": "b", "reported_at": _at(1)})
    loaded = up.model_copy(update={"sessions": 2})
    assert not news({"r": up}, {"r": same})
    assert news({"r": up}, {"r": loaded})
    assert not urgent({"r": up}, {"r": loaded}, local=False)
    for changed in ({"verdict": "down"}, {"draining": True}):
        assert urgent({"r": up}, {"r": up.model_copy(update=changed)}, local=False)
    assert urgent({"r": up}, {}, local=False)
    last = Received(RelayReport(sequence=1, sent_at=_at(0)), _at(0))
    assert last.report.sessions == 0


def test_a_stop_that_was_announced_is_not_forgotten_before_it_comes() -> None:
    """However long the grace is; after that the agent is as silent as any other."""
    health = _health()
    report = RelayReport(sequence=1, sent_at=_at(0), draining=True, stops_at=_at(100))
    health.receive_report("r", report, _at(0), token="t")
    assert health.statuses([RELAY], _at(99))["r"].draining
    assert not health.statuses([RELAY], _at(101))["r"].draining


def test_a_new_leader_gives_agents_time_before_they_are_silent() -> None:
    """Old reports, which the leader before received, are no reason to check every relay."""
    health = _health(started=60)
    report = RelayReport(sequence=1, sent_at=_at(0))
    health.inherit({}, {"r": Received(report, _at(0))})
    health.evaluate([RELAY], _at(61))
    assert health.rechecks.count == 0
    health.evaluate([RELAY], _at(60 + SILENT_AFTER_S + 1))
    assert health.rechecks.count == 1
