"""In random worlds an explanation says what is decided and what DNS answers, for every region."""

from __future__ import annotations

import json
import random
from ipaddress import ip_address

import pytest

from firsthop_steering.compile.compiler import compile_table
from firsthop_steering.compile.table import AnswerTable
from firsthop_steering.decision.availability import FAMILIES
from firsthop_steering.decision.charges import RELIEF_MS
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.endpoints import addresses
from firsthop_steering.decision.lifetime import Lifetimes
from firsthop_steering.whatif.explain import explain
from support.allocator_world import MEDIA, TRANSCEIVERS, atlas_of
from support.seeds import random_worlds
from support.worlds import (
    NOW,
    folder,
    key_of,
    random_asker,
    random_geo,
    random_steering,
    status_of,
    usable_of,
)


@random_worlds(40)
def test_it_says_what_is_decided(rng: random.Random) -> None:
    """Every region is there once with a fate, one is chosen if any, the score is the sum of what
    is shown, and the answer is that of the table."""
    whole = random_steering(rng, random_geo(rng, 9))
    topology = whole.topology
    plan, service = topology.plan, topology.services["s"]
    path = folder() / "explained.table"
    compile_table(whole, path)
    table = AnswerTable.open(path).services[0]
    for _ in range(25):
        address, family = random_asker(rng, whole), rng.choice(FAMILIES)
        steering = whole.of(service, family)
        decision = steering.decide(service, topology.client(address))
        said = explain(whole, service, address, family)
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
            ttl = Lifetimes(steering, service, "relays").ttl(decision.site)
            assert said["answer"]["endpoints"] == [each.id for each in named]
            assert said["answer"]["ttl"] == ttl
            mine = ipv4 if family == "ipv4" else ipv6
            assert said["answer"][family] == list(map(str, mine))
        for each in said["candidates"]:
            total = each["rtt_ms"] - each["bias_ms"] + each["charged_ms"]
            assert each["score_ms"] == pytest.approx(total, abs=1e-6)
            assert 0 <= each["price_ms"] - each["charged_ms"] <= min(each["price_ms"], RELIEF_MS)
        for asked, by in (("ipv4", table), ("ipv6", table.aaaa)):
            answer = by.answers[by.settle(*key_of(address))]
            assert (said["by_family"][asked] or "") == answer.region
            assert said["answer"][asked] == list(map(str, getattr(answer, asked)))


def test_a_signalling_service_has_no_second_choice() -> None:
    """Its regions are the transceivers' own, and no media region stands behind them."""
    transceivers = [{**each, "signalling_ipv4": "192.0.2.77"} for each in TRANSCEIVERS]
    topology = atlas_of(transceivers=transceivers, service={"pool": "transceivers"})
    steering = Steering(topology, status_of(), NOW)
    said = explain(steering, topology.services["relay"], ip_address("10.1.1.1"))
    assert (said["region"], said["media"]) == ("eu", None)
    assert said["answer"]["ipv4"] == ["192.0.2.77"]
    assert {each["region"] for each in said["candidates"]} == {each["id"] for each in MEDIA}
