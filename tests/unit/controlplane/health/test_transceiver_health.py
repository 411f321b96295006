"""Transceivers are there while they report, and gone when they announce it or are silent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from firsthop_controlplane.health.transceiver_health import TransceiverHealth
from firsthop_steering.feed.reports import TransceiverReport
from firsthop_steering.health.depool import Shares
from firsthop_steering.plan.model import Transceiver

T0 = datetime(2026, 11, 24, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def transceiver(name: str, **changes: Any) -> Transceiver:
    number = int(name.rpartition("-")[2])
    fields = {"id": name, "region": name[:2], "host": "10.0.0.1", "port": number}
    return Transceiver.model_validate(fields | changes)


class Transceivers:
    """Transceiver health, its transceivers, and a second hand."""

    def __init__(self, *names: str, started: float = 0, **changes: Any) -> None:
        self.all = [transceiver(each, **changes) for each in names]
        self.health = TransceiverHealth(at(started), 30.0, Shares())
        self.sequence = 0

    def report(self, second: float, *names: str, **fields: Any) -> None:
        self.sequence += 1
        report = TransceiverReport(sequence=self.sequence, sent_at=at(second), **fields)
        for name in names or [each.id for each in self.all]:
            assert self.health.reports.receive(name, report, at(second), token="t")

    def verdicts(self, second: float) -> dict[str, str]:
        self.health.evaluate(self.all, at(second))
        found = self.health.statuses(self.all, at(second))
        return {name: each.verdict for name, each in found.items()}

    def status(self, second: float, name: str) -> Any:
        self.health.evaluate(self.all, at(second))
        return self.health.statuses(self.all, at(second))[name]


def test_one_that_never_reported_is_not_spoken_of() -> None:
    """As before there were reports: operators named it, and nobody knows more."""
    assert Transceivers("eu-1").verdicts(1000) == {}


def test_one_that_is_silent_is_down_until_it_speaks() -> None:
    world = Transceivers("eu-1", "us-2", "us-3", "us-4")
    world.report(0)
    assert set(world.verdicts(6).values()) == {"up"}
    world.report(6, "us-2", "us-3", "us-4")
    assert world.verdicts(7)["eu-1"] == "down"
    assert world.status(7, "eu-1").since == at(7)
    world.report(8)
    assert set(world.verdicts(8).values()) == {"up"}


def test_one_that_registered_has_to_speak() -> None:
    world = Transceivers("eu-1", registered=True)
    assert world.verdicts(0) == {}
    assert world.verdicts(7) == {"eu-1": "down"}
    world.report(8)
    assert world.verdicts(8) == {"eu-1": "up"}


def test_what_is_said_is_told() -> None:
    """The capacity that it states goes before the plan's."""
    world = Transceivers("eu-1", "eu-2", capacity=40)
    world.report(0, "eu-1", sessions=10, capacity=20, draining=True, stops_at=at(60))
    world.report(0, "eu-2", sessions=10)
    one, two = world.status(1, "eu-1"), world.status(1, "eu-2")
    assert (one.draining, one.stops_at, one.sessions, one.load) == (True, at(60), 10, 0.5)
    assert (two.draining, two.load, two.reported_at) == (False, 0.25, at(0))


def test_one_that_ends_as_it_said_is_down_then() -> None:
    """Its word, not our ears: the guard has nothing to say."""
    world = Transceivers("eu-1", "eu-2", "eu-3")
    world.report(0, stops_at=at(5), draining=True)
    assert set(world.verdicts(4).values()) == {"up"}
    assert set(world.verdicts(5).values()) == {"down"}


def test_when_all_are_silent_it_is_us() -> None:
    """At most half are taken for dead; a whole region may be among them."""
    world = Transceivers("eu-1", "eu-2", "us-3", "us-4")
    world.report(0)
    world.verdicts(0)
    world.report(4, "us-3", "us-4")
    assert world.verdicts(8) == {"eu-1": "down", "eu-2": "down", "us-3": "up", "us-4": "up"}
    assert world.verdicts(20) == {"eu-1": "down", "eu-2": "down", "us-3": "up", "us-4": "up"}
    assert "guarded" in world.status(20, "us-3").reason


def test_old_and_repeated_reports_are_refused() -> None:
    world = Transceivers("eu-1")
    world.report(10)
    reports = world.health.reports
    for sequence, sent in ((1, 10), (1, 9), (0, 9)):
        old = TransceiverReport(sequence=sequence, sent_at=at(sent))
        assert not reports.receive("eu-1", old, at(11), token="t")
    begun_again = TransceiverReport(sequence=0, sent_at=at(11))
    assert reports.receive("eu-1", begun_again, at(11), token="t")


def test_a_new_leader_changes_nothing_before_it_has_listened() -> None:
    """Nobody is taken for dead as it did not speak to us yet, nor for alive as we are new."""
    old = Transceivers("eu-1", "us-2", "us-3")
    old.report(0)
    old.verdicts(0)
    old.report(8, "us-2", "us-3")
    assert old.verdicts(8)["eu-1"] == "down"
    new = Transceivers("eu-1", "us-2", "us-3", started=60)
    new.health.inherit(old.health.reported())
    assert new.verdicts(61) == {"eu-1": "down", "us-2": "up", "us-3": "up"}
    new.report(65, "us-2")
    assert new.verdicts(67) == {"eu-1": "down", "us-2": "up", "us-3": "up"}, "half are down at most"
    new.report(70, "eu-1", "us-2")
    assert new.verdicts(70) == {"eu-1": "up", "us-2": "up", "us-3": "down"}


def test_a_clock_that_is_set_back_keeps_nobody_alive() -> None:
    world = Transceivers("eu-1", "eu-2")
    world.report(0, "eu-1")
    world.report(0, "eu-2")
    assert set(world.verdicts(4).values()) == {"up"}
    world.verdicts(-3600)
    world.report(-3600, "eu-2", sessions=1)
    assert world.verdicts(-3596) == {"eu-1": "down", "eu-2": "up"}


@pytest.mark.parametrize("registered", [True, False])
def test_a_day_of_silence_is_the_end(registered: bool) -> None:
    """Of one that registered, which is to be removed; what operators named is as new."""
    world = Transceivers("eu-1", "eu-2", registered=registered)
    world.report(0, "eu-1")
    world.verdicts(0)
    day = timedelta(hours=24).total_seconds()
    world.report(day, "eu-2")
    assert world.verdicts(day - 1)["eu-1"] == "down"
    assert world.health.gone(world.all, at(day - 1)) == []
    wanted = (["eu-1"], {"eu-1": "down", "eu-2": "up"}) if registered else ([], {"eu-2": "up"})
    assert (world.health.gone(world.all, at(day)), world.verdicts(day)) == wanted


def test_a_new_leader_takes_nobody_for_gone_at_once() -> None:
    """After an outage of two days all have not reported for so long."""
    old = Transceivers("eu-1", registered=True)
    old.report(0)
    old.verdicts(0)
    start = timedelta(days=2).total_seconds()
    new = Transceivers("eu-1", registered=True, started=start)
    new.health.inherit(old.health.reported())
    new.verdicts(start + 1)
    assert new.health.gone(new.all, at(start + 599)) == []
    assert new.health.gone(new.all, at(start + 600)) == ["eu-1"]
