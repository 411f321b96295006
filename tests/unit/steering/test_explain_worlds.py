"""In random worlds an explanation says what is decided and what DNS answers, for every region."""

from __future__ import annotations

import json
import random
from ipaddress import ip_address

import pytest

from allocator_world import MEDIA, TRANSCEIVERS, atlas_of
from firsthop_steering.atlas import Atlas
from firsthop_steering.decide import Steering
from firsthop_steering.endpoints import addresses
from firsthop_steering.explain import explain
from firsthop_steering.lifetime import Lifetimes
from worlds import (
    NOW,
    VANTAGE,
    random_address,
    random_geo,
    random_plan,
    random_status,
    status_of,
    usable_of,
)


@pytest.mark.parametrize("seed", range(40))
def test_it_says_what_is_decided(seed: int) -> None:
    """Every region is there once with a fate, one is chosen if any, and the answer is DNS's."""
    rng = random.Random(seed)
    plan, geo = random_plan(rng), random_geo(rng, 9)
    atlas = Atlas(plan, geo)
    steering, service = (
        Steering(atlas, random_status(rng, plan), NOW, vantage=VANTAGE),
        atlas.services["s"],
    )
    for _ in range(25):
        address = random_address(rng, geo)
        decision = steering.decide(service, atlas.client(address))
        said = explain(steering, service, address)
        json.dumps(said)
        names = [each["region"] for each in said["candidates"]]
        assert sorted(names) == sorted(each.id for each in plan.document.regions)
        assert all(each["fate"] for each in said["candidates"])
        chosen = [each["region"] for each in said["candidates"] if each["fate"] == "chosen"]
        assert chosen == ([said["region"]] if said["region"] else [])
        assert said["region"] == (decision.site.id if decision.site else None)
        assert (said["reason"], said["bucket"]) == (decision.reason, decision.bucket)
        assert (said["client"]["latitude"], said["client"]["longitude"]) != (0, 0)
        if decision.site is not None:
            open_ = decision.ranking.outcome == "open"
            usable = usable_of(steering, decision.site, ignore_health=open_)
            named, ipv4, ipv6 = addresses(usable, decision.bucket, service.answers)
            assert said["answer"] == {
                "endpoints": [each.id for each in named],
                "ipv4": list(map(str, ipv4)),
                "ipv6": list(map(str, ipv6)),
                "ttl": Lifetimes(steering, service, "relays").ttl(decision.site),
            }


def test_a_signalling_service_has_no_second_choice() -> None:
    """Its regions are the transceivers' own, and no media region stands behind them."""
    transceivers = [{**each, "signalling_ipv4": "192.0.2.77"} for each in TRANSCEIVERS]
    atlas = atlas_of(transceivers=transceivers, service={"pool": "transceivers"})
    steering = Steering(atlas, status_of(), NOW)
    said = explain(steering, atlas.services["relay"], ip_address("10.1.1.1"))
    assert (said["region"], said["media"]) == ("eu", None)
    assert said["answer"]["ipv4"] == ["192.0.2.77"]
    assert {each["region"] for each in said["candidates"]} == {each["id"] for each in MEDIA}
