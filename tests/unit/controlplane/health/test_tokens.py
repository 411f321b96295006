"""What one token can say, and that all of it ends when the token does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import pytest

from firsthop_controlplane.health.health_state import MAX_PROBERS, HealthState
from firsthop_controlplane.health.last_reports import MAX_STOP_AHEAD, Received
from firsthop_controlplane.health.verdicts import VerdictEvaluator
from firsthop_steering.feed.reports import (
    ProbeReport,
    RelayReport,
    TransceiverReport,
    VantageView,
)
from firsthop_steering.health.depool import Shares
from firsthop_steering.plan.model import Liveness, Relay, Transceiver

T0 = datetime(2026, 1, 1, tzinfo=UTC)
RELAY = Relay(id="r", region="fra", ipv4=IPv4Address("192.0.2.1"), capacity=100)
FAR = datetime(8999, 1, 1, tzinfo=UTC)
LARGEST = 2**53 - 1


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def state() -> HealthState:
    return HealthState(
        evaluator=VerdictEvaluator(10, Shares()),
        started_at=T0,
        report_stale_after_s=30,
        settle_s=0,
    )


def see(
    health: HealthState,
    vantage: str,
    verdict: Liveness,
    seconds: float,
    *,
    prober: str = "p",
    token: str | None = None,
) -> bool:
    view = VantageView(relay="r", verdict=verdict, since=at(seconds), checked_at=at(seconds))
    report = ProbeReport(prober=prober, vantage=vantage, sent_at=at(seconds), views=(view,))
    return health.receive_results(report, at(seconds), token=token or f"token-{vantage}")


def verdict(health: HealthState, seconds: float) -> str:
    health.evaluate([RELAY], at(seconds))
    return health.verdicts["r"].verdict


def keep(health: HealthState, *tokens: str) -> None:
    health.keep_only(lambda token: token in tokens)


def test_a_token_does_not_speak_for_the_probers_of_other_tokens() -> None:
    """Two vantages whose probers have one name are two; a later clock keeps no one else out."""
    health = state()
    see(health, "a", "up", 0)
    see(health, "b", "up", 0)
    assert see(health, "c", "down", 0)
    assert see(health, "c", "down", 3600, token="thief")
    assert see(health, "b", "up", 1)
    assert verdict(health, 1) == "up"
    assert set(health.evaluator.views("r")) == {"a", "b", "c"}


def test_the_views_of_a_revoked_token_end_with_it() -> None:
    """At once: the other vantages decide at the next evaluation."""
    health = state()
    for vantage in "abc":
        see(health, vantage, "down" if vantage != "a" else "up", 0)
    assert verdict(health, 0) == "down"
    keep(health, "token-a")
    assert verdict(health, 0.1) == "up"
    assert set(health.evaluator.views("r")) == {"a"}


def test_one_token_has_room_for_few_probers() -> None:
    """Invented names push each other out, and no prober of another token."""
    health = state()
    see(health, "b", "up", 0)
    for number in range(5 * MAX_PROBERS):
        see(health, "a", "down", number / 10, prober=f"p-{number}")
    assert verdict(health, 4) == "unknown", "one vantage of two says down"
    assert len(health._probers) == MAX_PROBERS + 1
    assert len(health.evaluator._views._checks) == MAX_PROBERS + 1
    assert see(health, "b", "up", 4)


def test_silent_probers_are_forgotten_once_others_report() -> None:
    """The last one stays, so that a frozen verdict can say since when."""
    health = state()
    see(health, "a", "up", 0)
    see(health, "b", "up", 3600)
    assert verdict(health, 3600) == "up"
    keep(health, "token-a", "token-b")
    assert {each.token for each in health._probers} == {"token-b"}
    assert verdict(health, 86400) == "up"
    assert "last check at" in health.verdicts["r"].reason


def test_a_revoked_agent_keeps_the_real_one_out_no_longer() -> None:
    """Neither by the largest number nor by the latest time, whether its token lives or not."""
    health = state()
    forged = RelayReport(
        sequence=LARGEST, sent_at=at(299), draining=True, stops_at=FAR, crashed=True
    )
    real = RelayReport(sequence=1, sent_at=at(1))
    assert health.receive_report("r", forged, at(0), token="stolen")
    assert health.receive_report("r", real, at(1), token="new"), "with another token: at once"
    assert health.receive_report("r", forged, at(2), token="stolen")
    keep(health, "new")
    status = health.statuses([RELAY], at(2))["r"]
    assert (status.draining, status.crashed, status.stops_at) == (False, False, None)


def test_a_report_keeps_others_of_its_token_out_only_while_it_is_fresh() -> None:
    health = state()
    forged = RelayReport(sequence=LARGEST, sent_at=at(299))
    assert health.receive_report("r", forged, at(0), token="t")
    assert not health.receive_report(
        "r", RelayReport(sequence=1, sent_at=at(30)), at(30), token="t"
    )
    assert health.receive_report("r", RelayReport(sequence=2, sent_at=at(31)), at(31), token="t")


def test_a_stop_in_the_far_future_ends_after_a_day() -> None:
    """Also one that an older release stored."""
    health = state()
    report = RelayReport(sequence=1, sent_at=at(0), stops_at=FAR)
    health.inherit({}, {"r": Received(report, T0)})
    day = MAX_STOP_AHEAD.total_seconds()
    assert health.statuses([RELAY], at(day - 1))["r"].stops_at == FAR
    assert health.statuses([RELAY], at(day))["r"].stops_at is None


@pytest.mark.parametrize("registered", [False, True])
def test_what_a_transceiver_said_ends_with_its_token(registered: bool) -> None:
    """One that registered must report again; of the others no more is known than the plan."""
    health = state().transceivers
    one = Transceiver.model_validate(
        {"id": "e", "region": "eu", "host": "10.0.0.1", "port": 1, "registered": registered}
    )
    said = TransceiverReport(sequence=LARGEST, sent_at=at(299), draining=True, stops_at=at(1))
    assert health.reports.receive("e", said, at(0), token="t")
    health.evaluate([one], at(1))
    assert health.verdicts["e"].verdict == "down"
    health.reports.keep_only(lambda _: False)
    health.evaluate([one], at(1))
    assert not health.statuses([one], at(1))["e"].draining
    assert health.verdicts["e"].verdict == ("down" if registered else "unknown")
    assert health.reports.receive(
        "e", TransceiverReport(sequence=1, sent_at=at(1)), at(1), token="new"
    )
    health.evaluate([one], at(1))
    assert health.verdicts["e"].verdict == "up"
