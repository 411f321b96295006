"""Verdicts on IPv4 and IPv6 apart: what the trouble of one family does, and what it does not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address

import pytest

from firsthop_controlplane.health.health_state import HealthState
from firsthop_controlplane.health.relay_verdict import REASON_LIMIT
from firsthop_controlplane.health.status_changes import news, urgent
from firsthop_controlplane.health.verdict import Verdict
from firsthop_controlplane.health.verdicts import Excluded, Guarded, VerdictEvaluator
from firsthop_steering.feed.reports import ProbeReport, VantageView
from firsthop_steering.feed.snapshot import RelayStatus, VantageVerdict
from firsthop_steering.health.depool import Shares
from firsthop_steering.plan.model import Family, Liveness, Probe, Relay

T0 = datetime(2026, 1, 1, tzinfo=UTC)
NO_LIMIT = Shares(1.0, 1.0)
Seen = Mapping[tuple[str, Family], Liveness]


def relay(number: int, region: str = "fra", **probe: object) -> Relay:
    """`r1`, with an address of each family."""
    return Relay(
        id=f"r{number}",
        region=region,
        ipv4=IPv4Address(f"192.0.2.{number}"),
        ipv6=IPv6Address(f"2001:db8::{number}"),
        probe=Probe.model_validate(probe),
    )


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


class Observed:
    """Some relays, and an observer who hears what vantages see of them."""

    def __init__(self, relays: Iterable[Relay], shares: Shares = NO_LIMIT) -> None:
        self.relays = tuple(relays)
        self.health = HealthState(
            evaluator=VerdictEvaluator(10, shares),
            started_at=T0,
            report_stale_after_s=30,
            settle_s=3,
        )

    def see(self, vantage: str, seconds: float, seen: Seen, cause: str = "timeout") -> None:
        """One report; addresses that are not named are up."""
        views = [
            VantageView(
                relay=each.id,
                family=family,
                verdict=seen.get((each.id, family), "up"),
                since=at(seconds),
                checked_at=at(seconds),
                reason=cause if seen.get((each.id, family)) == "down" else "",
            )
            for each in self.relays
            for family in ("ipv4", "ipv6")
        ]
        self.report(vantage, seconds, views)

    def report(self, vantage: str, seconds: float, views: list[VantageView]) -> None:
        report = ProbeReport(
            prober=vantage, vantage=vantage, sent_at=at(seconds), views=tuple(views)
        )
        assert self.health.receive_results(report, at(seconds), token=vantage)

    def status(self, seconds: float, name: str = "r1") -> RelayStatus:
        return self.statuses(seconds)[name]

    def statuses(self, seconds: float) -> dict[str, RelayStatus]:
        self.health.evaluate(self.relays, at(seconds))
        return self.health.statuses(self.relays, at(seconds))


def down(*names: str, family: Family = "ipv6") -> dict[tuple[str, Family], Liveness]:
    return {(name, family): "down" for name in names}


def test_a_relay_without_ipv6_is_up_by_its_ipv4() -> None:
    """Its IPv6 is down by itself, and the sentence tells both, the worse first."""
    world = Observed([relay(1)])
    for vantage in "abc":
        world.see(vantage, 0, down("r1"))
    status = world.status(0)
    assert (status.verdict, status.families) == ("up", {"ipv4": "up", "ipv6": "down"})
    assert status.reason == (
        "ipv6: down at 3 of 3 vantages (a: timeout, b: timeout, c: timeout);"
        " ipv4: up at 3 of 3 vantages"
    )
    for vantage in "abc":
        world.see(vantage, 1, down("r1") | down("r1", family="ipv4"))
    assert world.status(1).verdict == "down"


def test_one_family_alone_is_told_without_its_name() -> None:
    world = Observed([relay(1, families=["ipv4"])])
    world.see("a", 0, down("r1"))
    status = world.status(0)
    assert (status.families, status.reason) == ({"ipv4": "up"}, "up at 1 of 1 vantages")


def test_long_reasons_of_two_addresses_are_both_told() -> None:
    """Each gets half of the room."""
    world = Observed([relay(1)])
    for vantage in "abc":
        seen = down("r1") | down("r1", family="ipv4")
        world.see(vantage * 60, 0, seen, cause="x" * 200)
    reason = world.status(0).reason
    assert len(reason) <= REASON_LIMIT
    assert "ipv4: down at 3 of 3" in reason
    assert "ipv6: down at 3 of 3" in reason


def test_a_vantage_with_broken_ipv6_keeps_its_word_on_ipv4() -> None:
    """It is excluded from IPv6 alone: with it, the dead IPv4 of r1 has its majority."""
    names = [f"r{n}" for n in range(1, 7)]
    world = Observed([relay(n) for n in range(1, 7)])
    world.see("a", 0, down("r1", family="ipv4") | down(*names))
    world.see("b", 0, down("r1", family="ipv4"))
    world.see("c", 0, {})
    statuses = world.statuses(0)
    assert world.health.evaluator.excluded == {Excluded("a", "ipv6")}
    assert statuses["r1"].families == {"ipv4": "down", "ipv6": "up"}
    assert all(statuses[name].families["ipv6"] == "up" for name in names)
    assert statuses["r1"].vantages["a"].families == {"ipv4": "down"}
    assert statuses["r1"].vantages["b"].families == {"ipv4": "down", "ipv6": "up"}


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("lie", ["up", "down", "unknown"])
def test_a_lie_of_one_vantage_in_one_family_changes_nothing(family: Family, lie: Liveness) -> None:
    """Neither for the living r1 nor for the dead r2, in either family."""
    world = Observed([relay(1), relay(2)])
    dead = down("r2") | down("r2", family="ipv4")
    for second in range(20):
        world.see("a", second, dead)
        world.see("b", second, dead)
        lies: Seen = {("r1", family): lie, ("r2", family): lie}
        world.see("c", second, {**dead, **lies})
        statuses = world.statuses(second)
        assert (statuses["r1"].verdict, statuses["r2"].verdict) == ("up", "down")
        assert set(statuses["r1"].families.values()) == {"up"}
        assert set(statuses["r2"].families.values()) == {"down"}


def test_when_the_ipv6_of_a_whole_fleet_falls_half_of_it_stays_and_it_is_said() -> None:
    """Though every relay is up by its IPv4."""
    world = Observed([relay(n, region=f"g{n}") for n in range(1, 9)], Shares())
    for second in (0, 1):
        for vantage in "abc":
            world.see(vantage, second, down(*(f"r{n}" for n in range(1, 9))) if second else {})
        statuses = world.statuses(second)
    assert [statuses[f"r{n}"].families["ipv6"] for n in range(1, 9)] == ["down"] * 4 + ["up"] * 4
    assert {each.verdict for each in statuses.values()} == {"up"}
    guarded = world.health.evaluator.guarded
    assert guarded.keys() == {Guarded(f"r{n}", "ipv6") for n in range(5, 9)}
    assert "stays up, guarded, as 4 of 8 ipv6 addresses are down" in statuses["r8"].reason


def test_when_a_whole_fleet_falls_half_of_the_relays_stay() -> None:
    """With both addresses; who stays is told once, for the relay."""
    world = Observed([relay(n, region=f"g{n}") for n in range(1, 5)], Shares())
    for second in (0, 1):
        names = [f"r{n}" for n in range(1, 5)] if second else []
        for vantage in "abc":
            world.see(vantage, second, down(*names) | down(*names, family="ipv4"))
        statuses = world.statuses(second)
    assert [statuses[f"r{n}"].verdict for n in range(1, 5)] == ["down", "down", "up", "up"]
    assert statuses["r4"].families == {"ipv4": "up", "ipv6": "up"}
    assert statuses["r4"].reason.startswith("stays up, guarded, as 2 of 4 relays are down by")
    assert world.health.evaluator.guarded.keys() == {
        Guarded("r3", "all"),
        Guarded("r4", "all"),
    }


def test_an_address_that_no_vantage_can_reach_does_not_keep_a_relay_alive() -> None:
    """Vantages without IPv6 say nothing of it: it stays unknown, and the IPv4 decides."""
    world = Observed([relay(1)])

    def say(second: float, verdict: Liveness) -> RelayStatus:
        for vantage in "ab":
            view = VantageView(relay="r1", verdict=verdict, since=at(0), checked_at=at(second))
            world.report(vantage, second, [view])
        return world.status(second)

    assert say(0, "up").families == {"ipv4": "up", "ipv6": "unknown"}
    assert say(1, "down").verdict == "down"


def test_after_a_restart_addresses_stand_as_their_relay_until_they_are_judged() -> None:
    """What no vantage speaks of is unknown then, not up for good."""
    world = Observed([relay(1)])
    world.health.inherit({"r1": Verdict("up", at(-60), "as before")}, {})
    early = world.status(1)
    assert (early.verdict, early.families) == ("up", {})
    world.see("a", 3, down("r1"))
    judged = world.status(3)
    assert judged.families == {"ipv4": "up", "ipv6": "down"}
    assert judged.since == at(-60), "the relay did not turn"

    alone = Observed([relay(1)])
    alone.health.inherit({"r1": Verdict("up", at(-60), "as before")}, {})
    assert alone.status(4).families == {}
    view = VantageView(relay="r1", verdict="down", since=at(5), checked_at=at(5), reason="x")
    alone.report("a", 5, [view])
    status = alone.status(5)
    assert (status.verdict, status.families) == ("down", {"ipv4": "down", "ipv6": "unknown"})


def test_an_address_that_is_new_starts_as_unknown() -> None:
    world = Observed([relay(1, families=["ipv4"])])
    world.see("a", 0, down("r1"))
    assert world.status(0).families == {"ipv4": "up"}
    world.relays = (relay(1),)
    world.health.receive_results(
        ProbeReport(
            prober="a",
            vantage="a",
            sent_at=at(1),
            views=(VantageView(relay="r1", verdict="up", since=at(0), checked_at=at(1)),),
        ),
        at(1),
        token="a",
    )
    assert world.status(1).families == {"ipv4": "up", "ipv6": "unknown"}


def test_the_word_of_a_vantage_is_kept_since_it_says_so() -> None:
    """Over both addresses; it goes when its views are stale."""
    world = Observed([relay(1)])
    for second, seen in ((0, {}), (1, down("r1")), (2, down("r1") | down("r1", family="ipv4"))):
        world.see("a", second, seen)
        status = world.status(second)
        since = at(2 if second == 2 else 0)
        verdict: Liveness = "down" if second == 2 else "up"
        word = status.vantages["a"]
        assert (word.verdict, word.since) == (verdict, since)
    assert status.vantages["a"].families == {"ipv4": "down", "ipv6": "down"}
    assert world.status(13).vantages == {}


def test_an_address_that_turns_is_urgent_and_a_word_where_an_edge_decides_by_it() -> None:
    one = VantageVerdict(verdict="up", since=T0)
    status = RelayStatus(verdict="up", families={"ipv4": "up", "ipv6": "up"}, vantages={"a": one})
    address = status.model_copy(update={"families": {"ipv4": "up", "ipv6": "down"}})
    share = status.model_copy(update={"share": 20})
    word = status.model_copy(update={"vantages": {"a": one.model_copy(update={"verdict": "down"})}})
    old = {"r": status}
    assert urgent(old, {"r": address}, local=False)
    assert urgent(old, {"r": share}, local=False)
    assert not urgent(old, {"r": word}, local=False)
    assert news(old, {"r": word})
    assert urgent(old, {"r": word}, local=True)


def returning(**probe: object) -> Observed:
    """A relay that turned up at second 10, after it was down."""
    world = Observed([relay(1, families=["ipv4"], **probe)])
    world.see("a", 0, down("r1", family="ipv4"))
    assert world.status(0).share == 100
    world.see("a", 10, {})
    return world


def shares(world: Observed, seconds: Iterable[float]) -> list[int]:
    return [world.status(second).share for second in seconds]


def test_a_relay_that_was_down_starts_slowly() -> None:
    assert shares(returning(), (10, 12, 13, 15, 18, 19, 20, 30)) == [
        *(20, 20, 40, 60, 80, 80, 100, 100)
    ]
    assert shares(returning(slow_start_s=0), (10, 11)) == [100, 100]


def test_a_first_up_is_no_return() -> None:
    world = Observed([relay(1)])
    world.see("a", 0, {})
    assert world.status(0).share == 100


def test_who_falls_while_it_starts_begins_again() -> None:
    world = returning()
    assert shares(world, (10, 15)) == [20, 60]
    world.see("a", 16, down("r1", family="ipv4"))
    assert shares(world, (16,)) == [100]
    world.see("a", 200, {})
    assert shares(world, (200, 203)) == [20, 40]


@pytest.mark.parametrize("step", [-3600.0, -3.0, 3600.0])
def test_no_slow_start_takes_longer_when_the_clock_is_set(step: float) -> None:
    """Set back it goes on from where it was; set forth it is over."""
    world = returning()
    before = shares(world, (10, 15))
    after = shares(world, (15 + step, 17.5 + step, 20 + step))
    assert before == [20, 60]
    assert after == ([60, 80, 100] if step < 0 else [100] * 3)
