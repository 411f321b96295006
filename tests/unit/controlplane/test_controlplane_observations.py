"""What was heard, and the status that follows: freshness, order, clocks, restarts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import pytest

from firsthop_controlplane.health.health_state import HealthState, news, urgent
from firsthop_controlplane.health.last_reports import Received
from firsthop_controlplane.health.recheck import SILENT_AFTER_S
from firsthop_controlplane.health.verdict import Verdict
from firsthop_controlplane.health.verdicts import Verdicts
from firsthop_steering.feed.reports import ProbeReport, RelayReport, VantageView
from firsthop_steering.feed.snapshot import RelayStatus
from firsthop_steering.health.depool import Shares
from firsthop_steering.health.verdicts import Liveness
from firsthop_steering.plan.model import Probe, Relay

T0 = datetime(2026, 1, 1, tzinfo=UTC)
RELAY = Relay(id="r", region="fra", ipv4=IPv4Address("192.0.2.1"), capacity=100)


def _at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def _health_state(started: float = 0) -> HealthState:
    return HealthState(
        verdict_rules=Verdicts(10, Shares()),
        started_at=_at(started),
        report_stale_after_s=30,
        settle_s=3,
    )


def _report(
    prober: str, verdict: Liveness, at: float, skew: float = 0, relay: str = "r"
) -> ProbeReport:
    said = _at(at + skew)
    view = VantageView(relay=relay, verdict=verdict, since=said, checked_at=said, reason="x")
    return ProbeReport(prober=prober, vantage=prober, sent_at=said, views=(view,))


def _verdict(health_state: HealthState, at: float) -> str:
    health_state.evaluate([RELAY], _at(at))
    return health_state.verdicts["r"].verdict


def test_a_report_replaces_the_one_before() -> None:
    """What a prober no longer mentions, it no longer says."""
    health_state = _health_state()
    health_state.receive_results(_report("a", "up", 0), _at(0))
    health_state.receive_results(_report("b", "up", 0), _at(0))
    assert _verdict(health_state, 0) == "up"
    for prober in ("a", "b"):
        health_state.receive_results(_report(prober, "down", 1, relay="other"), _at(1))
    assert _verdict(health_state, 1) == "up", "nobody to ask leaves it as it is"
    health_state.receive_results(_report("a", "down", 2), _at(2))
    assert _verdict(health_state, 2) == "down"


@pytest.mark.parametrize("skew", [-86400, -20, 0, 20, 86400])
def test_a_probers_clock_does_not_matter(skew: float) -> None:
    """Views are moved onto our clock: they count for 10 s from when they came, and no longer."""
    health_state = _health_state()
    assert health_state.receive_results(_report("a", "down", 0, skew), _at(0))
    assert _verdict(health_state, 0) == "down"
    assert health_state.receive_results(_report("b", "up", 9, -skew), _at(9))
    assert _verdict(health_state, 9) == "down", "a tie"
    assert _verdict(health_state, 11) == "up", "the older view is stale"


def test_an_overtaken_report_is_not_taken_unless_the_clock_was_set_back() -> None:
    """Within 10 s the later word stands; after that, a clock that went back is believed."""
    health_state = _health_state()
    assert health_state.receive_results(_report("a", "up", 100), _at(0))
    assert not health_state.receive_results(_report("a", "down", 99), _at(1))
    assert health_state.receive_results(_report("a", "down", 50), _at(11))


def test_rarely_checked_relays_are_not_stale_between_checks() -> None:
    """Three intervals, where those are longer than the common limit."""
    rare = RELAY.model_copy(update={"probe": Probe(interval_s=60)})
    health_state = _health_state()
    health_state.receive_results(_report("a", "down", 0), _at(0))
    health_state.receive_results(_report("b", "up", 0), _at(0))
    health_state.receive_results(_report("c", "up", 150), _at(150))
    health_state.evaluate([rare], _at(150))
    assert health_state.verdicts["r"].verdict == "up"
    assert "2 of 3" in health_state.verdicts["r"].reason


def test_after_a_restart_verdicts_stand_until_the_probers_had_time() -> None:
    """The first prober to report does not decide alone."""
    health_state = _health_state(started=100)
    health_state.inherit({"r": Verdict("up", _at(5), "as before")}, {})
    health_state.receive_results(_report("a", "down", 100.5), _at(100.5))
    assert _verdict(health_state, 100.5) == "up"
    for prober in ("b", "c"):
        health_state.receive_results(_report(prober, "up", 101.5), _at(101.5))
    assert _verdict(health_state, 103.5) == "up"
    assert health_state.verdicts["r"].since == _at(5)


def test_agents_words_count_in_order_and_for_a_while() -> None:
    """Older ones are refused, a restarted agent's are not, and silence ends them."""
    health_state = _health_state()

    def say(sequence: int, sent: float) -> bool:
        report = RelayReport(sequence=sequence, sent_at=_at(sent), sessions=50, draining=True)
        return health_state.receive_report("r", report, _at(sent))

    assert [say(1, 0), say(3, 2), say(2, 1), say(3, 2), say(0, 3), say(1, 4)] == [
        *(True, True, False, False, True, True)
    ]
    status = health_state.statuses([RELAY], _at(34))["r"]
    assert (status.sessions, status.load, status.draining) == (50, 0.5, True)
    silent = health_state.statuses([RELAY], _at(35))["r"]
    assert (silent.sessions, silent.load, silent.draining) == (None, None, False)


def test_what_left_the_plan_is_forgotten() -> None:
    """A relay that comes back under an old id starts as unknown."""
    health_state = _health_state()
    health_state.receive_results(_report("a", "down", 0), _at(0))
    report = RelayReport(sequence=1, sent_at=_at(0))
    health_state.receive_report("r", report, _at(0))
    assert _verdict(health_state, 0) == "down"
    health_state.evaluate([], _at(1))
    assert (health_state.verdicts, health_state.reports) == ({}, {})
    assert _verdict(health_state, 2) == "unknown"


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
    reports = Received(RelayReport(sequence=1, sent_at=_at(0)), _at(0))
    assert reports.report.sessions == 0


def test_a_stop_that_was_announced_is_not_forgotten_before_it_comes() -> None:
    """However long the grace is; after that the agent is as silent as any other."""
    health_state = _health_state()
    said = RelayReport(sequence=1, sent_at=_at(0), draining=True, stops_at=_at(100))
    health_state.receive_report("r", said, _at(0))
    assert health_state.statuses([RELAY], _at(99))["r"].draining
    assert not health_state.statuses([RELAY], _at(101))["r"].draining


def test_a_new_leader_gives_agents_time_before_they_are_silent() -> None:
    """What was heard by the leader before is old, and no reason to check every relay at once."""
    health_state = _health_state(started=60)
    report = RelayReport(sequence=1, sent_at=_at(0))
    health_state.inherit({}, {"r": Received(report, _at(0))})
    health_state.evaluate([RELAY], _at(61))
    assert health_state.rechecks.raised == 0
    health_state.evaluate([RELAY], _at(60 + SILENT_AFTER_S + 1))
    assert health_state.rechecks.raised == 1
