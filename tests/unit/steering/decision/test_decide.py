"""The decision's rules, one by one."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Address, ip_address
from typing import Any

import pytest

from firsthop_steering.decision.charges import RELIEF_MS
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.endpoints import addresses, domains_apart
from firsthop_steering.decision.model import Decision
from firsthop_steering.decision.topology import Topology, parse_client
from firsthop_steering.feed.snapshot import Plan, RelayStatus, Status
from support.worlds import NOW, europe_and_america, plan_of, prices_of, status_of, usable_of

REGIONS = [
    {"id": "fra", "latitude": 50.1, "longitude": 8.7},
    {"id": "iad", "latitude": 39.0, "longitude": -77.5},
    {"id": "gru", "latitude": -23.5, "longitude": -46.6},
]
RELAYS = [
    {"id": f"{each['id']}-1", "region": each["id"], "ipv4": f"192.0.2.{number}"}
    for number, each in enumerate(REGIONS, start=1)
]
SERVICE = {"id": "s", "name": "s.edge.example."}
BERLIN, NEW_YORK, SAO_PAULO, NOWHERE = "10.1.1.1", "20.1.1.1", "30.1.1.1", "99.1.1.1"


def world(
    status: Status | None = None, *, service: dict[str, Any] | None = None, **document: Any
) -> Steering:
    plan = plan_of(
        {
            "regions": REGIONS,
            "relays": RELAYS,
            "services": [{**SERVICE, **(service or {})}],
            **document,
        }
    )
    return Steering(Topology(plan, europe_and_america()), status or status_of(), NOW)


def decide(steering: Steering, client: str) -> Decision:
    return steering.decide(
        steering.topology.services["s"], steering.topology.client(parse_client(client))
    )


def region(steering: Steering, client: str) -> str:
    site = decide(steering, client).site
    return site.id if site else ""


def changed(**fields: dict[str, Any]) -> list[dict[str, Any]]:
    """The regions with some fields of some changed."""
    return [{**each, **fields.get(str(each["id"]), {})} for each in REGIONS]


@pytest.mark.parametrize(
    ("client", "nearest"), [(BERLIN, "fra"), (NEW_YORK, "iad"), (SAO_PAULO, "gru")]
)
def test_every_client_gets_the_nearest_region(client: str, nearest: str) -> None:
    """With nothing measured and all weights equal, distance decides."""
    assert region(world(), client) == nearest


def test_a_client_without_a_place_goes_where_the_mean_is_lowest() -> None:
    """An unlocated client is never put at (0, 0), where the Gulf of Guinea would decide."""
    steering = world()
    decision = decide(steering, NOWHERE)
    rtt = steering.topology.rtt_us("relays")[:, -1]
    assert decision.client.cell is None
    assert decision.site is not None
    assert decision.site.id == sorted(["fra", "gru", "iad"])[int(rtt.argmin())]
    assert {each.rtt_source for each in decision.ranking.candidates} == {"unlocated"}


@pytest.mark.parametrize("state", ["draining", "disabled"])
def test_only_active_regions_answer(state: str) -> None:
    """A region that drains or is disabled sends its clients to their next best."""
    assert region(world(regions=changed(fra={"state": state})), BERLIN) == "iad"


def test_a_down_relay_moves_its_clients_and_unknown_does_not() -> None:
    """`down` drops a relay; `unknown` is never `down`; a draining agent is heard."""
    assert region(world(status_of(fra_1="down")), BERLIN) == "iad"
    assert region(world(status_of(fra_1="unknown")), BERLIN) == "fra"
    draining = Status(
        number=1,
        lineage="test",
        created_at=NOW,
        relays={"fra-1": RelayStatus(verdict="up", draining=True)},
    )
    assert region(world(draining), BERLIN) == "iad"


def test_bias_and_price_are_milliseconds_of_the_score() -> None:
    """A bias draws clients, a price sends them away, each by what its RTT allows."""
    gap = decide(world(), BERLIN).ranking.candidates
    between = gap[1].rtt_ms - gap[0].rtt_ms
    assert region(world(regions=changed(iad={"bias_ms": between - 1})), BERLIN) == "fra"
    assert region(world(regions=changed(iad={"bias_ms": between + 1})), BERLIN) == "iad"
    topology = world().topology
    priced = Steering(topology, status_of(), NOW, prices=prices_of(fra=between + RELIEF_MS))
    assert region(priced, BERLIN) == "iad"


@pytest.mark.parametrize("weight", [0, 13, 50, 87, 100])
def test_a_weight_keeps_its_share_and_moves_nobody_else(weight: int) -> None:
    """Of 2,000 prefixes of Frankfurt's the weight's share stays; other regions' clients stay."""
    before, after = world(), world(regions=changed(fra={"weight": weight}))
    prefixes = [str(IPv4Address((10 << 24) + (number << 8))) for number in range(2000)]
    stayed = sum(region(after, each) == "fra" for each in prefixes)
    assert stayed / 20 == pytest.approx(weight, abs=3)
    for client in (NEW_YORK, SAO_PAULO):
        assert region(after, client) == region(before, client)


def test_raising_a_weight_only_brings_clients_back() -> None:
    """Those whom 30 % keeps are kept at 60 % too: least movement on every change."""
    prefixes = [str(IPv4Address((10 << 24) + (number << 8))) for number in range(500)]
    worlds = [world(regions=changed(fra={"weight": weight})) for weight in (30, 60)]
    kept = [{each for each in prefixes if region(made, each) == "fra"} for made in worlds]
    assert kept[0] < kept[1]


def test_what_no_weight_keeps_goes_to_the_first() -> None:
    """With every region at 1 % nobody is turned away."""
    low = world(regions=changed(**{each: {"weight": 1} for each in ("fra", "iad", "gru")}))
    assert region(low, BERLIN) == "fra"


def test_regions_at_one_place_share_their_clients() -> None:
    """Equal scores break by the client's bucket, not by name."""
    twins = [*REGIONS, {**REGIONS[0], "id": "fra-two"}]
    relays = [*RELAYS, {"id": "fra-two-1", "region": "fra-two", "ipv4": "192.0.2.99"}]
    steering = world(regions=twins, relays=relays)
    prefixes = [str(IPv4Address((10 << 24) + (number << 8))) for number in range(1000)]
    share = sum(region(steering, each) == "fra-two" for each in prefixes) / 10
    assert share == pytest.approx(50, abs=5)


def override(id_: str = "o", **fields: Any) -> dict[str, Any]:
    return {"id": id_, "mode": "only", "regions": ["gru"], **fields}


@pytest.mark.parametrize(
    ("mode", "regions", "expected"),
    [
        ("only", ["gru"], "gru"),
        ("prefer", ["gru", "iad"], "gru"),
        ("prefer", ["iad"], "iad"),
        ("avoid", ["fra"], "iad"),
        ("avoid", ["fra", "iad"], "gru"),
    ],
)
def test_override_modes(mode: str, regions: list[str], expected: str) -> None:
    """only and prefer go by their own order, avoid takes regions away."""
    steering = world(overrides=[override(country="DE", mode=mode, regions=regions)])
    assert region(steering, BERLIN) == expected
    assert region(steering, NEW_YORK) == "iad"


def test_prefer_falls_back_to_distance_and_only_does_not() -> None:
    """When the listed region is down, prefer goes on with the others; only has when_all_down."""
    down = status_of(gru_1="down")
    preferring = world(down, overrides=[override(country="DE", mode="prefer")])
    assert region(preferring, BERLIN) == "fra"
    only = world(down, overrides=[override(country="DE")], service={"when_all_down": "closed"})
    assert region(only, BERLIN) == ""


def test_the_most_specific_override_wins() -> None:
    """CIDR by length, then ASN, then country, then continent; the service's own before all's."""
    rules = [
        override("continent", continent="SA", regions=["fra"]),
        override("country", country="BR", regions=["iad"]),
        override("asn", asn=64500, regions=["fra"]),
        override("wide", cidr="30.0.0.0/8", regions=["iad"]),
        override("narrow", cidr="30.1.0.0/16", regions=["gru"]),
        override("own", cidr="30.1.0.0/16", regions=["fra"], service="s"),
    ]
    expected = {"own": "fra", "narrow": "gru", "wide": "iad", "asn": "fra", "country": "iad"}
    while rules:
        winner = decide(world(overrides=rules), SAO_PAULO)
        assert winner.ranking.rule is not None
        assert winner.ranking.rule.id == rules[-1]["id"]
        assert winner.site is not None
        assert winner.site.id == expected.get(rules.pop()["id"], "fra")


def test_an_expired_override_is_over() -> None:
    """An override holds until its expiry and not at it."""
    late = override(country="DE", expires_at=(NOW + timedelta(seconds=1)).isoformat())
    over = override(country="DE", expires_at=NOW.isoformat())
    assert region(world(overrides=[late]), BERLIN) == "gru"
    assert region(world(overrides=[over]), BERLIN) == "fra"


def test_an_override_speaks_to_the_pools_whose_regions_it_names() -> None:
    """Data residency of transceivers does not forbid every relay."""
    steering = world(
        transceiver_regions=[{"id": "eu", "wire_id": 1, "latitude": 50, "longitude": 8}],
        transceivers=[
            {"id": "eu-1", "wire_id": 1, "region": "eu", "host": "192.0.2.50", "port": 9}
        ],
        overrides=[override(country="DE", regions=["eu"])],
    )
    assert region(steering, BERLIN) == "fra"


ALL_DOWN = status_of(fra_1="down", iad_1="down", gru_1="down")


def test_when_all_down_open_ignores_health_and_nothing_else() -> None:
    """Fail open to the nearest, but never into a region that the operator drains."""
    assert region(world(ALL_DOWN), BERLIN) == "fra"
    drained = world(ALL_DOWN, regions=changed(fra={"state": "draining"}))
    assert region(drained, BERLIN) == "iad"
    assert "health is ignored" in decide(drained, BERLIN).reason


def everything_drained(how: dict[str, Any], *, regions: bool) -> dict[str, Any]:
    """The regions, or the relays, of the world, drained by `how`."""
    if regions:
        return {"regions": changed(fra=how, iad=how, gru=how)}
    return {"relays": [each | how for each in RELAYS]}


@pytest.mark.parametrize("how", [{"state": "draining"}, {"weight": 0}], ids=str)
@pytest.mark.parametrize("regions", [True, False])
def test_when_all_is_drained_open_ignores_drains_too(how: dict[str, Any], regions: bool) -> None:
    """An operator who drains the last relay does not take the service away from its clients."""
    drained = everything_drained(how, regions=regions)
    for status in (status_of(), ALL_DOWN):
        decision = decide(world(status, **drained), BERLIN)
        assert decision.site is not None
        assert (decision.site.id, decision.ranking.outcome) == ("fra", "open")
        assert "health and drains are ignored" in decision.reason
    closed = world(**drained, service={"when_all_down": "closed"})
    assert decide(closed, BERLIN).ranking.outcome == "closed"


@pytest.mark.parametrize("regions", [True, False])
def test_what_is_disabled_is_not_even_a_last_resort(regions: bool) -> None:
    disabled = everything_drained({"state": "disabled"}, regions=regions)
    assert decide(world(**disabled), BERLIN).ranking.outcome == "closed"


def test_when_all_down_closed_and_fallback_choose_no_region() -> None:
    """The outcome says which; the fallback's addresses are the service's."""
    closed = world(ALL_DOWN, service={"when_all_down": "closed"})
    assert decide(closed, BERLIN).ranking.outcome == "closed"
    spare = {"when_all_down": "fallback", "fallback": ["192.0.2.200"]}
    decision = decide(world(ALL_DOWN, service=spare), BERLIN)
    assert (decision.site, decision.ranking.outcome) == (None, "fallback")
    assert "when_all_down is fallback" in decision.reason


def test_a_service_keeps_to_its_regions() -> None:
    """Regions that a service does not list never answer for it."""
    assert region(world(service={"regions": ["gru", "iad"]}), BERLIN) == "iad"


def test_every_candidate_has_its_fate() -> None:
    """What is not chosen says why: dropped, outdone, or not keeping this prefix."""
    steering = world(
        status_of(gru_1="down"), regions=changed(fra={"weight": 1}, iad={"weight": 100})
    )
    decision = decide(steering, BERLIN)
    fates = {each.site.id: decision.fate(each) for each in decision.ranking.candidates}
    assert fates["gru"] == "none of its endpoints is up"
    assert fates["fra"] == "weight 1 does not keep this client's prefix"
    assert fates["iad"] == "chosen"
    assert "kept by weight" in decision.reason
    plain = decide(world(), BERLIN)
    assert plain.fate(plain.ranking.candidates[1]).startswith("eligible, but an earlier one")


def test_relays_of_a_region_share_by_weight_and_domains_stand_apart() -> None:
    """One answer of several goes by weight; two answers come from two failure domains."""
    relays = [
        {"id": "a", "region": "fra", "ipv4": "192.0.2.1", "weight": 75, "failure_domain": "x"},
        {"id": "b", "region": "fra", "ipv4": "192.0.2.2", "weight": 25, "failure_domain": "x"},
        {"id": "c", "region": "fra", "ipv6": "2001:db8::3", "weight": 0},
    ]
    steering = world(relays=relays)
    site = next(each for each in steering.topology.pools["relays"] if each.id == "fra")
    usable = usable_of(steering, site)
    assert [each.id for each in usable] == ["a", "b"]
    first = [addresses(usable, drawn, 1)[0][0].id for drawn in range(1024)]
    assert first.count("a") / 10.24 == pytest.approx(75, abs=4)
    spread = [{"id": "d", "region": "fra", "ipv4": "192.0.2.4", "failure_domain": "y"}, *relays]
    three = world(relays=spread)
    site = next(each for each in three.topology.pools["relays"] if each.id == "fra")
    for drawn in range(0, 1024, 37):
        chosen = addresses(usable_of(three, site), drawn, 2)[0]
        assert {each.domain for each in chosen} == {"x", "y"}
    assert domains_apart(()) == ()


def test_the_media_region_is_nearest_to_the_relay() -> None:
    """The transceiver region is chosen from the relay region's place, by the same rules."""
    regions = [
        {"id": "eu", "wire_id": 1, "latitude": 50, "longitude": 8},
        {"id": "us", "wire_id": 2, "latitude": 39, "longitude": -77},
    ]
    transceivers = [
        {"id": f"{id_}-1", "wire_id": n, "region": id_, "host": f"192.0.2.{n}", "port": 9}
        for n, id_ in enumerate(["eu", "us"], start=1)
    ]
    document = {"transceiver_regions": regions, "transceivers": transceivers}
    steering = world(**document)
    service = steering.topology.services["s"]
    client = steering.topology.client(ip_address(BERLIN))
    sites = {site.id: index for index, site in enumerate(steering.topology.pools["relays"])}

    def media(steering: Steering, relay_region: str) -> str:
        decision = steering.decide_media(service, client, sites[relay_region])
        return decision.site.id if decision.site else ""

    assert media(steering, "fra") == "eu"
    assert media(steering, "iad") == "us"
    drained = [{**regions[0], "state": "draining"}, regions[1]]
    assert media(world(**{**document, "transceiver_regions": drained}), "fra") == "us"
    nobody = world(**{**document, "transceivers": []})
    assert media(nobody, "fra") == ""


def test_a_signalling_service_steers_to_transceiver_regions() -> None:
    """pool: transceivers answers with signalling addresses of the nearest transceiver region."""
    steering = world(
        service={"pool": "transceivers"},
        transceiver_regions=[
            {"id": "eu", "wire_id": 1, "latitude": 50, "longitude": 8},
            {"id": "us", "wire_id": 2, "latitude": 39, "longitude": -77},
        ],
        transceivers=[
            {
                "id": "eu-1",
                "wire_id": 1,
                "region": "eu",
                "host": "192.0.2.50",
                "port": 9,
                "signalling_ipv4": "192.0.2.51",
                "signalling_port": 443,
            },
            {"id": "us-1", "wire_id": 2, "region": "us", "host": "192.0.2.60", "port": 9},
        ],
    )
    for client in (BERLIN, NEW_YORK):
        decision = decide(steering, client)
        assert decision.site is not None
        assert decision.site.id == "eu", "the other has no signalling address"
        named = addresses(usable_of(steering, decision.site), 0, 1)
        assert named[1] == (IPv4Address("192.0.2.51"),)


def test_steered_signalling_leaves_out_who_drains_or_is_silent() -> None:
    """By the transceivers' own words; a relay of the same id has nothing to do with it."""
    ends = [
        {"id": name, "region": region, "host": host, "port": 9, "signalling_ipv4": host}
        for name, region, host in (
            ("eu-1", "eu", "192.0.2.51"),
            ("eu-2", "eu", "192.0.2.52"),
            ("fra-1", "us", "192.0.2.61"),
        )
    ]
    regions = [
        {"id": "eu", "wire_id": 1, "latitude": 50, "longitude": 8},
        {"id": "us", "wire_id": 2, "latitude": 39, "longitude": -77},
    ]

    def told(*words: dict[str, Any]) -> tuple[str, set[str]]:
        known = {
            name: RelayStatus.model_validate({"verdict": "up", "since": NOW, **said})
            for name, said in zip(("eu-1", "eu-2"), words, strict=False)
        }
        relays = {"eu-1": RelayStatus(verdict="down"), "fra-1": RelayStatus(verdict="down")}
        status = status_of().model_copy(update={"transceivers": known, "relays": relays})
        service = {"pool": "transceivers", "answers": 2}
        steering = world(status, service=service, transceiver_regions=regions, transceivers=ends)
        site = decide(steering, BERLIN).site
        assert site is not None
        named = addresses(usable_of(steering, site), 0, 2)
        return site.id, {str(each) for each in named[1]}

    both = {"192.0.2.51", "192.0.2.52"}
    assert told() == told({}, {}) == told({"load": 1.5}, {"load": 1.5}) == ("eu", both)
    for unavailable_transceivers in ({"draining": True}, {"stops_at": NOW}, {"verdict": "down"}):
        assert told(unavailable_transceivers) == ("eu", {"192.0.2.52"})
        assert told(unavailable_transceivers, unavailable_transceivers) == ("us", {"192.0.2.61"})


def test_embedded_ipv4_is_the_ipv4_client() -> None:
    """v4-mapped, NAT64 and 6to4 clients are where their IPv4 address is."""
    for form in ("::ffff:20.1.1.1", "64:ff9b::20.1.1.1", "2002:1401:0101::1", "20.1.1.0/24"):
        assert region(world(), form) == "iad"


@pytest.mark.parametrize("text", ["", "fra", "10.0.0.256", "fe80::1%eth0", "10.0.0.0/33", "1"])
def test_a_client_that_is_no_address_is_refused(text: str) -> None:
    """With the rule, whatever ipaddress may think of it."""
    with pytest.raises(ValueError, match="must be an IP address"):
        parse_client(text)


def test_decisions_of_two_edges_agree() -> None:
    """Nothing in a decision depends on the process that makes it."""
    one, two = world(), world()
    assert isinstance(one.topology.plan, Plan)
    for number in range(200):
        client = str(IPv4Address(number * 0x01010101))
        assert region(one, client) == region(two, client)
