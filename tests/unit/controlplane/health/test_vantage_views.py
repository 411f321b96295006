"""What is kept of the reports of probers: parts, and addresses that are gone."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import IPv4Address

import pytest
from pydantic import ValidationError

from firsthop_controlplane.health.vantage_views import ReportingProber, VantageViews
from firsthop_steering.feed.reports import ProbeReport, VantageView
from firsthop_steering.plan.model import Liveness, Relay

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROBER = ReportingProber("token", "p")


def relays(*names: str) -> dict[str, Relay]:
    return {name: Relay(id=name, region="fra", ipv4=IPv4Address("192.0.2.1")) for name in names}


def report(part: int = 1, parts: int = 1, **verdicts: Liveness) -> ProbeReport:
    views = tuple(
        VantageView(relay=name, verdict=verdict, since=NOW, checked_at=NOW)
        for name, verdict in verdicts.items()
    )
    return ProbeReport(prober="p", vantage="v", sent_at=NOW, part=part, parts=parts, views=views)


def said(views: VantageViews, *names: str) -> dict[str, Liveness]:
    views.update(relays(*names), NOW)
    return {name: by["v"].verdict for name, by in views.of_relays.items() if "v" in by}


def test_a_part_replaces_the_part_of_its_number() -> None:
    """Views of the other parts stay, and so does a view that moves to another part."""
    views = VantageViews(10)
    views.take(report(1, 2, a="up", b="up"), PROBER, ahead_s=0)
    views.take(report(2, 2, c="down", d="up"), PROBER, ahead_s=0)
    assert said(views, *"abcd") == {"a": "up", "b": "up", "c": "down", "d": "up"}
    views.take(report(1, 2, a="down", d="down"), PROBER, ahead_s=0)
    assert said(views, *"abcd") == {"a": "down", "c": "down", "d": "down"}
    views.take(report(2, 2, c="up"), PROBER, ahead_s=0)
    assert said(views, *"abcd") == {"a": "down", "c": "up", "d": "down"}


def test_parts_beyond_the_last_are_dropped() -> None:
    """A whole report, as older probers send it, replaces all parts."""
    views = VantageViews(10)
    for part, name in enumerate("abc", start=1):
        views.take(report(part, 3, **{name: "up"}), PROBER, ahead_s=0)
    views.take(report(1, 2, a="up"), PROBER, ahead_s=0)
    assert said(views, *"abc") == {"a": "up", "b": "up"}
    views.take(report(c="up"), PROBER, ahead_s=0)
    assert said(views, *"abc") == {"c": "up"}


def test_addresses_that_are_not_configured_are_forgotten() -> None:
    """A prober cannot fill the memory with names that it invents."""
    views = VantageViews(10)
    views.take(report(a="up", b="up"), PROBER, ahead_s=0)
    said(views, "b")
    assert views._reported.keys() == {("b", "ipv4")}
    assert views._checks[PROBER].keys() == {("b", "ipv4")}


@pytest.mark.parametrize(("part", "parts"), [(0, 1), (2, 1), (1, 0), (1, 101)])
def test_numbers_of_parts_are_checked(part: int, parts: int) -> None:
    with pytest.raises(ValidationError, match="part"):
        report(part, parts)


def test_reasons_hold_no_control_characters() -> None:
    """A target or a prober may choose the text, and operators read it in terminals."""
    view = VantageView(
        relay="a", verdict="down", since=NOW, checked_at=NOW, reason="\x1b[2J\nno\u202ewhere"
    )
    assert view.reason == "?[2J?no?where"
