"""What would put a client elsewhere: what is said to be enough is, and a bias is no more."""

from __future__ import annotations

import json
import random
from typing import Any

from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.decision.topology import Topology, parse_client
from firsthop_steering.feed.snapshot import RelayStatus
from firsthop_steering.plan.document import Document
from firsthop_steering.whatif.counterfactual import counterfactual
from support.allocator_world import MEDIA, TRANSCEIVERS, atlas_of
from support.seeds import random_worlds
from support.worlds import (
    NOW,
    VANTAGE,
    europe_and_america,
    plan_of,
    prices_of,
    random_address,
    random_geo,
    random_steering,
    status_of,
)


def _region(steering: Steering, client: Any) -> str | None:
    service = steering.topology.services["s"]
    site = steering.of(service, client.address_family).decide(service, client).site
    return site.id if site else None


def _applied(steering: Steering, changes: list[dict[str, Any]]) -> Steering:
    """As an operator would: each field of the document set; relays found up by probes."""
    document = steering.topology.plan.document.model_dump(mode="json")
    relays = dict(steering.status.relays)
    for each in changes:
        collection, id_ = each["object"].split("/")
        row = next(row for row in document[collection] if row["id"] == id_)
        if each["field"] == "status":
            relays[id_] = RelayStatus(verdict="up")
            row["forced"] = None
        elif each["needed"] == "deleted":
            document[collection].remove(row)
        else:
            row[each["field"]] = each["needed"]
    plan = steering.topology.plan.model_copy(update={"document": Document.model_validate(document)})
    topology = Topology(plan, steering.topology.geo)
    rtt = RttMap(topology, steering.rtt.latency)
    status = steering.status.model_copy(update={"relays": relays})
    return Steering(topology, status, NOW, vantage=VANTAGE, rtt=rtt, prices=steering.prices)


@random_worlds(40)
def test_what_is_said_to_be_enough_is(rng: random.Random) -> None:
    """For any client and region; a bias that is a microsecond less is not."""
    geo = random_geo(rng, 9)
    steering = random_steering(rng, geo)
    service = steering.topology.services["s"]
    for _ in range(4):
        client = steering.topology.client(random_address(rng, geo))
        for site in steering.topology.pools["relays"]:
            said = counterfactual(steering, service, client, site.id)
            json.dumps(said)
            changes = said["changes"]
            if _region(steering, client) == site.id:
                assert (changes, said["enough"]) == ([], True)
                continue
            assert changes
            assert said["enough"] == all(each["needed"] is not None for each in changes)
            if not said["enough"]:
                continue
            assert _region(_applied(steering, changes), client) == site.id
            *others, last = changes
            if last["field"] == "bias_ms":
                less = last | {"needed": round(last["needed"] - 0.001, 3)}
                if less["needed"] > -500:
                    assert _region(_applied(steering, [*others, less]), client) != site.id


@random_worlds(30)
def test_a_price_would_do_as_well(rng: random.Random) -> None:
    """The highest that does; a client of a region that others charge less for."""
    document = {
        "regions": [
            {"id": "fra", "latitude": 50.1, "longitude": 8.7},
            {"id": "ber", "latitude": 52.5 - rng.random() / 10, "longitude": 13.4},
        ],
        "relays": [
            {"id": "fra-1", "region": "fra", "ipv4": "192.0.2.1"},
            {"id": "ber-1", "region": "ber", "ipv4": "192.0.2.2"},
        ],
        "services": [{"id": "s", "name": "s.edge.example."}],
    }
    topology = Topology(plan_of(document), europe_and_america())

    def charging(price: float) -> Steering:
        return Steering(topology, status_of(), NOW, prices=prices_of(ber=price, fra=1.0))

    steering, client = charging(40.0), topology.client(parse_client(f"10.{rng.randrange(256)}.7.1"))
    said = counterfactual(steering, topology.services["s"], client, "ber")
    price = said["instead_of_bias"]
    assert (price["object"], price["field"], price["value"]) == ("regions/ber", "price_ms", 40.0)
    assert _region(charging(price["needed"]), client) == "ber"
    assert _region(charging(price["needed"] + 0.001), client) == "fra"


def _small(**service: Any) -> dict[str, Any]:
    places = {"fra": (50.1, 8.7), "nyc": (40.7, -74.0)}
    return {
        "regions": [
            {"id": id_, "latitude": latitude, "longitude": longitude}
            for id_, (latitude, longitude) in places.items()
        ],
        "relays": [
            {"id": f"{id_}-1", "region": id_, "ipv4": f"192.0.2.{n}"}
            for n, id_ in enumerate(places)
        ],
        "services": [{"id": "s", "name": "s.edge.example.", **service}],
    }


def test_everything_that_stands_in_the_way_is_named() -> None:
    """The service, an override, the state, the weight and the relay: each with what it must be."""
    document = _small(regions=["fra"])
    document["regions"][1] |= {"state": "draining", "weight": 0}
    document["overrides"] = [{"id": "o", "country": "DE", "regions": ["fra"], "mode": "only"}]
    topology = Topology(plan_of(document), europe_and_america())
    steering = Steering(topology, status_of(nyc_1="down"), NOW)
    client = topology.client(parse_client("10.1.1.1"))
    said = counterfactual(steering, topology.services["s"], client, "nyc")
    needed = {(each["object"], each["field"]): each["needed"] for each in said["changes"]}
    weight = needed.pop(("regions/nyc", "weight"))
    assert needed == {
        ("services/s", "regions"): ["fra", "nyc"],
        ("overrides/o", "regions"): ["nyc", "fra"],
        ("regions/nyc", "state"): "active",
        ("relays/nyc-1", "status"): "up",
    }
    assert 1 <= weight <= 100
    assert said["enough"]


def test_what_no_change_of_a_field_brings_is_said() -> None:
    """A region without relays; a bias beyond what a bias may be."""
    document = _small()
    document["relays"].pop()
    topology = Topology(plan_of(document), europe_and_america())
    client = topology.client(parse_client("10.1.1.1"))
    said = counterfactual(
        Steering(topology, status_of(), NOW), topology.services["s"], client, "nyc"
    )
    assert ([each["needed"] for each in said["changes"]], said["enough"]) == ([None], False)
    document = _small()
    document["regions"][0]["bias_ms"] = 490
    topology = Topology(plan_of(document), europe_and_america())
    said = counterfactual(
        Steering(topology, status_of(), NOW), topology.services["s"], client, "nyc"
    )
    assert [(each["field"], each["needed"]) for each in said["changes"]] == [("bias_ms", None)]
    assert "no bias is more than 500 ms" in said["changes"][0]["because"]


def test_a_silent_transceiver_would_have_to_be_heard() -> None:
    """It is named as what it is, and nothing else is asked of operators."""
    transceivers = [{**each, "signalling_ipv4": "192.0.2.77"} for each in TRANSCEIVERS]
    topology = atlas_of(transceivers=transceivers, service={"pool": "transceivers"})
    service, client = topology.services["relay"], topology.client(parse_client("10.1.1.1"))
    nearest = Steering(topology, status_of(), NOW).decide(service, client).site
    assert nearest is not None
    (end,) = nearest.endpoints
    status = status_of().model_copy(
        update={"transceivers": {end.id: RelayStatus(verdict="down", since=NOW)}}
    )
    said = counterfactual(Steering(topology, status, NOW), service, client, nearest.id)
    assert [(each["object"], each["field"]) for each in said["changes"]] == [
        (f"transceivers/{end.id}", "status")
    ]
    assert said["enough"]


def test_signalling_has_transceiver_regions() -> None:
    transceivers = [{**each, "signalling_ipv4": "192.0.2.77"} for each in TRANSCEIVERS]
    topology = atlas_of(transceivers=transceivers, service={"pool": "transceivers"})
    service, client = topology.services["relay"], topology.client(parse_client("10.1.1.1"))
    steering = Steering(topology, status_of(), NOW)
    chosen = steering.decide(service, client).site
    other = next(each["id"] for each in MEDIA if chosen is not None and each["id"] != chosen.id)
    said = counterfactual(steering, service, client, other)
    assert {each["object"] for each in said["changes"]} <= {
        f"transceiver_regions/{other}",
        *(f"transceivers/{each['id']}" for each in TRANSCEIVERS),
    }
    assert said["enough"]
