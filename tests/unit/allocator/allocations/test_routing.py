"""Which relays and which transceiver region an allocation gets."""

from __future__ import annotations

import hmac
import json
import random
from base64 import b64encode
from collections import Counter
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, Literal

import pytest

from firsthop_allocator.allocations.allocation import Allocation
from firsthop_allocator.allocations.route import AllocationRefused
from firsthop_allocator.allocations.routing import MAX_RELAYS, find_route
from firsthop_allocator.allocations.state import AllocatorState
from firsthop_allocator.http.schema import AllocationAnswer
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.decision.topology import Client, Topology
from firsthop_steering.feed.snapshot import Plan
from support.allocator_world import (
    BERLIN,
    KEYS,
    MEDIA,
    REGIONS,
    RELAYS,
    TRANSCEIVERS,
    all_down,
    allocated,
    atlas_of,
    changed,
    refused,
    state_of,
)
from support.seeds import random_worlds
from support.worlds import (
    NOW,
    VANTAGE,
    europe_and_america,
    random_asker,
    random_geo,
    random_latency,
    random_plan,
    random_prices,
    random_status,
    status_of,
    usable_of,
)


def regions(made: Allocation) -> list[str]:
    return [offer.relay.region for offer in made.route.offers]


def ids(made: Allocation) -> list[str]:
    return [offer.relay.id for offer in made.route.offers]


def test_the_chosen_region_comes_first_then_the_next_nearest() -> None:
    """Two relays of Frankfurt and one of Virginia make three."""
    assert regions(allocated(state_of())) == ["fra", "fra", "iad"]


def test_fewer_relays_make_a_shorter_list() -> None:
    """One relay in the world is one relay in the answer."""
    assert ids(allocated(state_of(relays=RELAYS[:1]))) == ["fra-1"]


def test_regions_that_did_not_keep_the_client_come_last() -> None:
    """Weight 1 sends nearly all Germans on; Frankfurt is then their last resort."""
    state = state_of(regions=changed(REGIONS, fra={"weight": 1}), relays=RELAYS[::2])
    firsts = Counter(
        tuple(regions(allocated(state, f"10.{a}.{b}.1"))) for a in range(20) for b in range(20)
    )
    assert set(firsts) <= {("iad", "gru", "fra"), ("fra", "iad", "gru")}
    assert firsts["iad", "gru", "fra"] > 380


def test_relays_of_a_region_share_clients_by_weight() -> None:
    """Weights 30 and 10: three quarters of the prefixes race to the heavier one first."""
    relays = changed(RELAYS, fra_1={"weight": 30}, fra_2={"weight": 10})
    state = state_of(relays=relays)
    clients = [f"10.{a}.{b}.1" for a in range(40) for b in range(50)]
    firsts = Counter(ids(allocated(state, each))[0] for each in clients)
    assert firsts["fra-1"] / len(clients) == pytest.approx(0.75, abs=0.04)


def test_failure_domains_are_apart() -> None:
    """Of three relays, two on one rack: the other rack's is never last of the three."""
    extra = {**RELAYS[0], "id": "fra-3", "ipv4": "192.0.2.99", "ipv6": None}
    relays = changed(
        [*RELAYS, extra],
        fra_1={"failure_domain": "rack-a"},
        fra_2={"failure_domain": "rack-a"},
        fra_3={"failure_domain": "rack-b"},
    )
    state = state_of(relays=relays)
    orders = {tuple(ids(allocated(state, f"10.{a}.1.1"))) for a in range(200)}
    assert len(orders) > 2
    assert all(order[2] != "fra-3" for order in orders)


def test_a_dead_relay_is_not_offered() -> None:
    """Neither as the first nor as the last resort; a draining region neither."""
    assert ids(allocated(state_of(status_of(fra_1="down"))))[0] == "fra-2"
    status = status_of(fra_1="down", fra_2="down", iad_1="down")
    assert set(regions(allocated(state_of(status)))) == {"iad", "gru"}
    draining = state_of(regions=changed(REGIONS, iad={"state": "draining"}))
    assert set(regions(allocated(draining))) == {"fra", "gru"}


def test_turn_servers_are_no_relays() -> None:
    """They do not route by ufrag, even where the decision stands on them."""
    relays = changed(RELAYS, fra_1={"kind": "turn"}, fra_2={"kind": "turn"})
    made = allocated(state_of(relays=relays))
    assert set(regions(made)) == {"iad", "gru"}
    assert made.route.reason.endswith("no relay of fra is left for this request")
    only_turn = allocated(state_of(relays=[{**each, "kind": "turn"} for each in RELAYS]))
    assert (only_turn.route.offers, only_turn.route.entry) == ((), "fra")


def test_turn_servers_are_given_beside_the_relays() -> None:
    """The nearest healthy ones, two at most, with a credential that ends with the allocation."""
    turn = changed(
        RELAYS,
        **{f"{each}_2": {"kind": "turn", "tcp_port": 443} for each in ("fra", "iad", "gru")},
    )
    state = state_of(relays=turn)
    made = allocated(state)
    (given,) = json.loads(made.to_json())["ice_servers"]
    assert given["urls"] == [
        "turn:[2001:db8::12]:3480?transport=udp",
        "turn:192.0.2.12:3480?transport=udp",
        "turn:[2001:db8::22]:3480?transport=udp",
        "turn:192.0.2.22:3480?transport=udp",
        "turn:[2001:db8::12]:443?transport=tcp",
        "turn:192.0.2.12:443?transport=tcp",
        "turn:[2001:db8::22]:443?transport=tcp",
        "turn:192.0.2.22:443?transport=tcp",
    ]
    assert given["username"] == f"{made.expires_s}:7"
    digest = hmac.digest(state.turn_secret.encode(), given["username"].encode(), "sha1")
    assert given["credential"] == b64encode(digest).decode()
    AllocationAnswer.model_validate_json(made.to_json())
    moved = allocated(state_of(status_of(fra_2="down"), relays=turn))
    (given,) = json.loads(moved.to_json())["ice_servers"]
    assert not any(".12:" in url for url in given["urls"])
    gone = allocated(state, exclude_relays=frozenset(["fra-2", "iad-2", "gru-2"]))
    assert json.loads(gone.to_json())["ice_servers"] == []
    assert json.loads(allocated(state_of()).to_json())["ice_servers"] == []


def test_excluded_relays_are_left_out() -> None:
    """One is skipped; a whole region moves on, and the transceiver region with it."""
    state = state_of()
    assert ids(allocated(state, exclude_relays=frozenset(["fra-2"])))[0] == "fra-1"
    gone = allocated(state, exclude_relays=frozenset(["fra-1", "fra-2", "unheard-of"]))
    assert regions(gone)[0] == "iad"
    assert gone.route.transceiver_region == "us"
    assert "no relay of fra is left" in gone.route.reason
    assert regions(allocated(state))[0] == "fra", "what was ruled out once is not kept"


def test_ruling_out_everything_is_the_callers_fault() -> None:
    """The refusal names the field."""
    everything = frozenset(each["id"] for each in RELAYS)
    made = refused(state_of(), exclude_relays=everything)
    assert (made.reason, made.field) == ("all_excluded", "exclude_relays")


@pytest.mark.parametrize("when", ["closed", "fallback"])
def test_without_a_live_relay_closed_services_refuse(when: str) -> None:
    """Fallback addresses are for DNS: they route no ufrag, so they are not offered."""
    service = {"when_all_down": when, "fallback": ["192.0.2.200"]}
    made = refused(state_of(all_down(), service=service))
    assert (made.reason, made.field) == ("no_relay", None)


def test_without_a_live_relay_open_services_offer_all() -> None:
    """Probers may be wrong about everything at once; the answer says that health is ignored."""
    made = allocated(state_of(all_down()))
    assert regions(made) == ["fra", "fra", "iad"]
    assert "health is ignored" in made.route.reason


def test_a_pin_decides_where_the_session_ends() -> None:
    """The relays stay the client's own; only the region behind them changes."""
    state = state_of()
    assert allocated(state).route.transceiver_region == "eu"
    pinned = allocated(state, transceiver_region="us")
    assert regions(pinned)[0] == "fra"
    assert (pinned.route.transceiver_region, pinned.route.wire_id) == ("us", 300)
    assert allocated(state).route.transceiver_region == "eu", "a pin is not kept for others"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"transceiver_regions": MEDIA[:1], "transceivers": TRANSCEIVERS[:1]}, "names no"),
        ({"service": {"transceiver_regions": ["eu"]}}, "does not allow"),
        ({"transceiver_regions": changed(MEDIA, us={"state": "draining"})}, "draining"),
        ({"transceiver_regions": changed(MEDIA, us={"weight": 0})}, "weight is 0"),
        ({"transceivers": TRANSCEIVERS[:1]}, "none of its endpoints"),
        ({"transceivers": changed(TRANSCEIVERS, us_t={"state": "disabled"})}, "none of its"),
        (
            {"overrides": [{"id": "o", "country": "DE", "mode": "avoid", "regions": ["us"]}]},
            "override o avoids it",
        ),
    ],
)
def test_a_pin_that_cannot_be_kept_is_refused(document: dict[str, Any], says: str) -> None:
    """The refusal names the field and why; nobody is sent elsewhere in silence."""
    made = refused(state_of(**document), transceiver_region="us")
    assert (made.reason, made.field) == ("pin_refused", "transceiver_region")
    assert says in made.rule


def test_without_a_transceiver_region_there_is_nothing_to_mint() -> None:
    """No active one at all; and one whose wire id was never assigned."""
    asleep = state_of(transceiver_regions=[{**each, "state": "disabled"} for each in MEDIA])
    assert refused(asleep).reason == "no_transceiver_region"
    unnumbered = state_of(transceiver_regions=changed(MEDIA, eu={"wire_id": None}))
    made = refused(unnumbered)
    assert (made.reason, made.field) == ("no_wire_id", None)
    assert "eu" in made.rule


def test_views_of_one_plan_share_what_no_status_changes() -> None:
    """A new status keeps the tables and forgets the routes; a new plan starts afresh."""
    topology = atlas_of()
    before = AllocatorState(Steering(topology, status_of(), NOW), KEYS)
    assert regions(allocated(before))[0] == "fra"
    status = status_of(fra_1="down", fra_2="down")
    after = AllocatorState(Steering(topology, status, NOW), KEYS, previous=before)
    assert after.tables is before.tables
    assert regions(allocated(after))[0] == "iad"
    other = AllocatorState(Steering(atlas_of(), status, NOW), KEYS, previous=before)
    assert other.tables is not before.tables


def _with_media(plan: Plan) -> Plan:
    document = plan.document.model_dump(mode="json")
    document["transceiver_regions"], document["transceivers"] = MEDIA, TRANSCEIVERS
    return Plan.model_validate({**plan.model_dump(mode="json"), "document": document})


def test_the_first_relay_has_an_address_of_the_clients_family() -> None:
    """A client with IPv6 alone is served; one that has IPv4 too still gets the nearest as well."""
    relays = [
        each | {"ipv6": f"2001:db8::{n}" if n == 2 else None} for n, each in enumerate(RELAYS)
    ]
    far = relays[2]["region"]
    for families in ("separate", "together"):
        state = state_of(relays=relays, service={"families": families})
        four, six = (
            find_route(state, state.steering.topology.services["relay"], client)
            for client in (_located(state, 4), _located(state, 6))
        )
        assert not isinstance(four, AllocationRefused)
        assert not isinstance(six, AllocationRefused)
        assert four.offers[0].relay.region == "fra"
        assert len(six.offers) == MAX_RELAYS
        first = six.offers[0].relay
        assert (first.region, first.ipv6 is None) == (
            (far, False) if families == "separate" else ("fra", True)
        )


def _located(state: AllocatorState, family: Literal[4, 6]) -> Client:
    """A client in Berlin, where the map has no IPv6."""
    client = state.steering.topology.client(ip_address(BERLIN))
    return replace(client, family=family, key=client.key if family == 4 else 0x20010DB8 << 32)


@random_worlds(60)
def test_the_first_relay_is_where_the_decision_points(rng: random.Random) -> None:
    """In random worlds: allocation and decision agree, warm and cold states agree, and only relays
    that may be answered with are offered."""
    plan = _with_media(random_plan(rng))
    geo = rng.choice([random_geo(rng, 9), europe_and_america()])
    topology = Topology(plan, geo)
    rtt = RttMap(topology, random_latency(rng, plan, geo))
    status, prices = random_status(rng, plan), random_prices(rng, plan)
    steering = Steering(topology, status, NOW, vantage=VANTAGE, rtt=rtt, prices=prices)
    warm, service = AllocatorState(steering, KEYS), topology.services["s"]
    for _ in range(40):
        client = topology.client(random_asker(rng, steering))
        decision = whole = steering.decide(service, client)
        first = steering.of(service, client.address_family).decide(service, client)
        if first.site is not None:
            decision = first
        route = find_route(warm, service, client)
        assert route == find_route(AllocatorState(steering, KEYS), service, client)
        if decision.site is None:
            assert isinstance(route, AllocationRefused)
            continue
        assert not isinstance(route, AllocationRefused)
        offered = [offer.relay for offer in route.offers]
        assert offered[0].region == decision.site.id
        assert len({relay.id for relay in offered}) == len(offered) <= MAX_RELAYS
        open_ = decision.ranking.outcome == "open"
        usable = {
            each.id
            for candidate in whole.preferences
            for each in usable_of(steering, candidate.site, ignore_health=open_)
        }
        assert {relay.id for relay in offered} <= usable
        assert len(offered) == min(MAX_RELAYS, len(usable))


def test_clients_of_one_prefix_get_one_order() -> None:
    """The bucket is the /24's; the last octet changes nothing."""
    state = state_of()
    orders = {tuple(ids(allocated(state, f"10.9.9.{n}"))) for n in range(256)}
    assert len(orders) == 1
    assert ip_address(BERLIN) != ip_address("10.9.9.1")
