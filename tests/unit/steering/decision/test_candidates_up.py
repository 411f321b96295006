"""Who may be answered with: families apart, slow starts, operators' words, local views."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.topology import Topology, parse_client
from firsthop_steering.feed.snapshot import RelayStatus, Status
from firsthop_steering.whatif.explain import explain
from support.worlds import NOW, europe_and_america, plan_of, usable_of

BERLIN = parse_client("10.1.1.1")
TWO = {
    "regions": [
        {"id": "fra", "latitude": 50.1, "longitude": 8.7},
        {"id": "iad", "latitude": 39.0, "longitude": -77.5},
    ],
    "services": [{"id": "s", "name": "s.edge.example."}],
}


def relay(name: str, number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "region": name.partition("-")[0],
        "ipv4": f"192.0.2.{number}",
        "ipv6": f"2001:db8::{number}",
        **more,
    }


def world(
    relays: list[dict[str, Any]],
    *,
    vantage: str | None = None,
    after: timedelta = timedelta(),
    service: dict[str, Any] | None = None,
    **status: dict[str, Any],
) -> Steering:
    """A status by relay, its hyphens written as underscores."""
    services = [{"id": "s", "name": "s.edge.example.", **(service or {})}]
    plan = plan_of({**TWO, "relays": relays, "services": services})
    measured = {
        name.replace("_", "-"): RelayStatus.model_validate(each) for name, each in status.items()
    }
    held = Status(number=1, lineage="test", created_at=NOW, relays=measured)
    return Steering(Topology(plan, europe_and_america()), held, NOW + after, vantage=vantage)


def answered(steering: Steering) -> str:
    """The region that a client in Berlin gets; fra is the nearest."""
    decision = steering.decide(steering.topology.services["s"], steering.topology.client(BERLIN))
    assert decision.site is not None
    return decision.site.id


def kept(steering: Steering) -> int:
    """How many of 256 networks in Berlin fra keeps."""
    service, topology = steering.topology.services["s"], steering.topology
    decisions = (
        steering.decide(service, topology.client(parse_client(f"10.1.{n}.1"))) for n in range(256)
    )
    return sum(each.site is not None and each.site.id == "fra" for each in decisions)


def addresses_of(steering: Steering, region: str) -> list[str]:
    site = next(each for each in steering.topology.pools["relays"] if each.id == region)
    found = usable_of(steering, site)
    return [str(address) for each in found for address in (each.ipv4, each.ipv6) if address]


LOCAL = {"view": "local"}
HERE = {"since": NOW.isoformat()}
PAIR = [relay("fra-1", 1), relay("iad-1", 2)]


def test_an_address_that_is_down_is_left_out_and_the_other_stays() -> None:
    """A region stays while one relay has an address that is up."""
    halved = {"verdict": "up", "families": {"ipv4": "up", "ipv6": "down"}}
    steering = world(PAIR, fra_1=halved)
    assert answered(steering) == "fra"
    assert addresses_of(steering, "fra") == ["192.0.2.1"]
    unknown = {"verdict": "up", "families": {"ipv4": "up", "ipv6": "unknown"}}
    assert len(addresses_of(world(PAIR, fra_1=unknown), "fra")) == 2, "unknown is never down"
    both = {"verdict": "down", "families": {"ipv4": "down", "ipv6": "down"}}
    assert answered(world(PAIR, fra_1=both)) == "iad"


def test_a_lone_relay_takes_its_clients_back_in_steps() -> None:
    """Every step keeps those that it had, and adds some."""
    counts = [kept(world(PAIR, fra_1={"verdict": "up", "share": share})) for share in (20, 60, 100)]
    assert 20 <= counts[0] < counts[1] < counts[2] == 256
    assert counts[1] / 256 == pytest.approx(0.6, abs=0.12)


def test_who_comes_back_beside_another_takes_nothing_from_their_region() -> None:
    """The region keeps all its clients; within it the newcomer has less than its weight."""
    relays = [*PAIR, relay("fra-2", 3)]
    steering = world(relays, fra_1={"verdict": "up"}, fra_2={"verdict": "up", "share": 20})
    assert kept(steering) == 256
    site = next(each for each in steering.topology.pools["relays"] if each.id == "fra")
    assert [each.weight for each in usable_of(steering, site)] == [100, 20]


@pytest.mark.parametrize("measured", ["up", "down"])
def test_the_operators_word_goes_before_all_others_until_it_ends(measured: str) -> None:
    """Whatever probes and agents say; then they have the word again."""
    until = NOW + timedelta(minutes=1)
    for word, region in (("up", "fra"), ("down", "iad")):
        forced = {"verdict": word, "until": until.isoformat(), "note": "rack move"}
        relays = [relay("fra-1", 1, forced=forced), PAIR[1]]
        said: dict[str, Any] = {"verdict": measured, "draining": measured == "down"}
        assert answered(world(relays, fra_1=said)) == region
        later = world(relays, after=timedelta(minutes=1), fra_1=said)
        assert answered(later) == ("fra" if measured == "up" else "iad")


def test_an_agent_lowers_and_never_raises() -> None:
    """Crashed or draining, a relay is left out; saying nothing raises none that is down."""
    stops = {"stops_at": (NOW + timedelta(minutes=1)).isoformat()}
    for said in ({"crashed": True}, {"draining": True}, stops):
        assert answered(world(PAIR, fra_1={"verdict": "up", **said})) == "iad"
    assert answered(world(PAIR, fra_1={"verdict": "down", "crashed": False})) == "iad"


def test_the_own_vantage_goes_first_where_the_view_is_local() -> None:
    """In both directions; elsewhere, in other services and without its word all vantages count."""
    unreachable = {"verdict": "up", "vantages": {"here": {**HERE, "verdict": "down"}}}
    reachable = {"verdict": "down", "vantages": {"here": {**HERE, "verdict": "up"}}}
    silent = {"verdict": "up", "vantages": {"here": {**HERE, "verdict": "unknown"}}}
    assert answered(world(PAIR, vantage="here", service=LOCAL, fra_1=unreachable)) == "iad"
    assert answered(world(PAIR, vantage="here", service=LOCAL, fra_1=reachable)) == "fra"
    assert answered(world(PAIR, vantage="here", service=LOCAL, fra_1=silent)) == "fra"
    assert answered(world(PAIR, vantage="there", service=LOCAL, fra_1=unreachable)) == "fra"
    assert answered(world(PAIR, vantage=None, service=LOCAL, fra_1=unreachable)) == "fra"
    assert answered(world(PAIR, vantage="here", fra_1=unreachable)) == "fra"


def test_a_vantage_that_sees_nothing_does_not_empty_a_service() -> None:
    """If by its word nobody were left, it is the vantage that is cut off."""
    cut_off = {"verdict": "up", "vantages": {"here": {**HERE, "verdict": "down"}}}
    steering = world(PAIR, vantage="here", service={"view": "local"}, fra_1=cut_off, iad_1=cut_off)
    assert answered(steering) == "fra"
    assert (
        steering.decide(
            steering.topology.services["s"], steering.topology.client(BERLIN)
        ).ranking.outcome
        == "steered"
    )


def test_a_vantage_is_asked_of_each_address_by_itself() -> None:
    """Where its IPv6 knows nothing, be it stale or excluded, all the others have the word."""
    no_ipv6 = {**HERE, "verdict": "up", "families": {"ipv4": "up", "ipv6": "unknown"}}
    dead = {"verdict": "up", "families": {"ipv4": "up", "ipv6": "down"}}
    for word in (no_ipv6, {**no_ipv6, "families": {"ipv4": "up"}}):
        steering = world(
            PAIR, vantage="here", service=LOCAL, fra_1={**dead, "vantages": {"here": word}}
        )
        assert addresses_of(steering, "fra") == ["192.0.2.1"]
    alive = {"verdict": "up", "families": {"ipv4": "up", "ipv6": "up"}}
    cut_off = {**HERE, "verdict": "down", "families": {"ipv4": "down"}}
    steering = world(
        PAIR, vantage="here", service=LOCAL, fra_1={**alive, "vantages": {"here": cut_off}}
    )
    assert addresses_of(steering, "fra") == ["2001:db8::1"]


def test_a_vantage_without_ipv6_takes_none_away() -> None:
    """Of IPv4 it is believed all the same."""
    both = {"verdict": "up", "families": {"ipv4": "up", "ipv6": "up"}}
    no_ipv6 = {**HERE, "verdict": "up", "families": {"ipv4": "up", "ipv6": "down"}}
    unreachable = {**HERE, "verdict": "down", "families": {"ipv4": "down", "ipv6": "down"}}
    steering = world(
        PAIR,
        vantage="here",
        service=LOCAL,
        fra_1={**both, "vantages": {"here": unreachable}},
        iad_1={**both, "vantages": {"here": no_ipv6}},
    )
    assert addresses_of(steering, "iad") == ["192.0.2.2", "2001:db8::2"]
    assert addresses_of(steering, "fra") == ["2001:db8::1"]
    assert steering.candidates_up(steering.topology.services["s"], "relays").distrusted == {"ipv6"}


def test_a_vantage_does_not_empty_a_service_of_some_regions() -> None:
    """Relays that the service may not answer with are no reason to believe it."""
    cut_off = {"verdict": "up", "vantages": {"here": {**HERE, "verdict": "down"}}}
    only = world(PAIR, vantage="here", service={**LOCAL, "regions": ["fra"]}, fra_1=cut_off)
    decision = only.decide(only.topology.services["s"], only.topology.client(BERLIN))
    assert (answered(only), decision.ranking.outcome) == ("fra", "steered")
    assert answered(world(PAIR, vantage="here", service=LOCAL, fra_1=cut_off)) == "iad"


def test_explain_says_whose_word_it_is() -> None:
    """And what is measured beside it."""
    forced = {"verdict": "up", "until": (NOW + timedelta(hours=1)).isoformat()}
    relays = [relay("fra-1", 1, forced=forced), *PAIR[1:]]
    down_here = {"verdict": "up", "share": 40, "vantages": {"here": {**HERE, "verdict": "up"}}}
    steering = world(
        relays,
        vantage="here",
        service={"view": "local"},
        fra_1={"verdict": "down"},
        iad_1=down_here,
    )
    said = explain(steering, steering.topology.services["s"], BERLIN)
    words = {name: text for each in said["candidates"] for name, text in each["endpoints"].items()}
    assert words["fra-1"] == "up, forced until 2026-11-22 13:00:00 UTC, measured down"
    assert words["iad-1"] == (
        "up, seen from here since 12:00:00 UTC, from all up, starting with 40 % of its weight"
    )
    assert said["view"] == "local: that of here, then that of all"
    now = {each["region"]: (each["weight"], each["weight_now"]) for each in said["candidates"]}
    assert now == {"fra": (100, 100), "iad": (100, 40)}


@pytest.mark.parametrize(
    ("families", "answered"), [(["ipv4"], "192.0.2.1"), (["ipv6"], "2001:db8::1")]
)
@pytest.mark.parametrize("ignore_health", [True, False])
def test_an_address_that_is_not_probed_is_not_in_service(
    families: list[str], answered: str, ignore_health: bool
) -> None:
    """Nothing would notice that it is dead; an operator's word on the relay changes nothing."""
    forced = {"verdict": "up"}
    steering = world([relay("fra-1", 1, probe={"families": families}, forced=forced)])
    (fra, _) = steering.topology.pools["relays"]
    (found,) = usable_of(steering, fra, ignore_health=ignore_health)
    assert [str(each) for each in (found.ipv4, found.ipv6) if each] == [answered]
