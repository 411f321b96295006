"""Which changes can move anybody: those left out move nobody, and most changes are left out."""

from __future__ import annotations

import random
from typing import Any

from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.decision.topology import Topology
from firsthop_steering.feed.snapshot import RelayStatus
from firsthop_steering.plan.document import Document
from firsthop_steering.whatif.affected import affected
from firsthop_steering.whatif.simulate import simulate
from support.seeds import random_worlds
from support.worlds import NOW, VANTAGE, random_address, random_geo, random_steering, status_of

NAME = "s.edge.example."


def _changed(rng: random.Random, document: dict[str, Any]) -> None:
    """One field of one object, of any kind."""
    region = rng.choice(document["regions"])
    service = document["services"][0]
    changes: list[tuple[dict[str, Any], str, Any]] = [
        (region, "weight", rng.choice([0, 50, 100])),
        (region, "bias_ms", rng.choice([0.0, 12.5])),
        (region, "state", rng.choice(["active", "draining"])),
        (region, "latitude", rng.uniform(-60, 60)),
        (region, "name", "another"),
        (service, "ttl", 60),
        (service, "when_all_down", rng.choice(["open", "closed", "fallback"])),
        (service, "regions", rng.choice([None, [region["id"]]])),
        (service, "view", rng.choice(["global", "local"])),
    ]
    if document["relays"]:
        relay = rng.choice(document["relays"])
        changes += [
            (relay, "weight", rng.choice([0, 1, 100])),
            (relay, "state", rng.choice(["active", "disabled"])),
            (relay, "capacity", 10),
            (relay, "forced", rng.choice([None, {"verdict": "down"}])),
        ]
    if document["overrides"]:
        override = rng.choice(document["overrides"])
        changes += [
            (override, "regions", [region["id"]]),
            (override, "mode", rng.choice(["prefer", "only", "avoid"])),
            (override, "note", "x"),
            (override, "expires_at", "2026-11-01T00:00:00Z"),
        ]
    changed, name, value = rng.choice(changes)
    changed[name] = value


@random_worlds(60)
def test_who_is_not_affected_does_not_move(rng: random.Random) -> None:
    """Any one field changed: with no word of the service, every client stays where it was."""
    geo = random_geo(rng, 9)
    old = random_steering(rng, geo)
    for _ in range(5):
        document = old.topology.plan.document.model_dump(mode="json")
        _changed(rng, document)
        plan = old.topology.plan.model_copy(update={"document": Document.model_validate(document)})
        topology = Topology(plan, geo)
        rtt = RttMap(topology, old.rtt.latency)
        new = Steering(topology, old.status, NOW, vantage=VANTAGE, rtt=rtt, prices=old.prices)
        if not affected(old, new):
            told = simulate(old, new, NAME, [random_address(rng, geo) for _ in range(100)])
            assert told.moves == ()


def test_relays_beside_others_and_names_affect_nobody() -> None:
    """The loss of a region's last relay does, and a service that is new or gone."""
    rng = random.Random(1)
    geo = random_geo(rng, 9)
    regions = [{"id": id_, "latitude": n, "longitude": n} for n, id_ in enumerate(("a", "b"))]
    relays = [
        {"id": f"{each['id']}-1", "region": each["id"], "ipv6": "2001:db8::1"} for each in regions
    ]
    relays[1]["ipv6"] = "2001:db8::2"
    base = {"regions": regions, "relays": relays, "services": [{"id": "s", "name": NAME}]}

    def steering(**more: Any) -> Steering:
        document = Document.model_validate({**base, **more})
        plan = random_steering(random.Random(0), geo).topology.plan
        topology = Topology(plan.model_copy(update={"document": document}), geo)
        return Steering(topology, status_of(a_1="up", b_1="up", a_2="up"), NOW)

    second = {"id": "a-2", "region": "a", "ipv6": "2001:db8::3"}
    assert affected(steering(), steering(relays=[*relays, second])) == ()
    assert affected(steering(), steering(regions=[{**regions[0], "name": "x"}, regions[1]])) == ()
    assert affected(steering(), steering(relays=relays[1:])) == (NAME,)
    assert affected(steering(), steering(services=[])) == (NAME,)
    lost = steering()
    down = {**lost.status.relays, "a-1": RelayStatus(verdict="down")}
    lost.status = lost.status.model_copy(update={"relays": down})
    assert affected(steering(), lost) == (NAME,)
