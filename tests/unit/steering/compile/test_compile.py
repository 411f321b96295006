"""The compiled table says what `decide` says, and its scopes keep their promise."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address
from string import ascii_uppercase
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firsthop_geodata.addresses import special_block
from firsthop_geodata.mmdb import open_geodata
from firsthop_geodata.prefixes import normalise
from firsthop_steering.compile.compiler import compile_table
from firsthop_steering.compile.preferences import preference_orders
from firsthop_steering.compile.sections import SectionError, SectionFile, write_sections
from firsthop_steering.compile.table import ASK_RESOLVER, Answer, AnswerTable, ServiceTable
from firsthop_steering.decision.availability import FAMILIES
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.endpoints import addresses
from firsthop_steering.decision.lifetime import Lifetimes
from firsthop_steering.decision.topology import Topology
from firsthop_steering.plan.model import Family
from support.worlds import (
    NOW,
    europe_and_america,
    folder,
    key_of,
    plan_of,
    random_address,
    random_asker,
    random_geo,
    random_steering,
    status_of,
    usable_of,
)


def compiled(steering: Steering) -> ServiceTable:
    path = folder() / "answers.table"
    compile_table(steering, path)
    return AnswerTable.open(path).services[0]


def decided(
    whole: Steering, address: IPv4Address | IPv6Address, family: Family | None = None
) -> Answer:
    """The answer that follows from `decide`, to a query for addresses of `family`."""
    service = next(iter(whole.topology.services.values()))
    steering = whole.of(service, family)
    decision = steering.decide(service, steering.topology.client(address))
    outcome = decision.ranking.outcome
    ttl = Lifetimes(steering, service, "relays").ttl(decision.site)
    if decision.site is None:
        spare = service.fallback if outcome == "fallback" else ()
        return Answer(
            "",
            outcome,
            (),
            tuple(each for each in spare if isinstance(each, IPv4Address)),
            tuple(each for each in spare if isinstance(each, IPv6Address)),
            ttl,
        )
    usable = usable_of(steering, decision.site, ignore_health=outcome == "open")
    named, ipv4, ipv6 = addresses(usable, decision.bucket, service.answers)
    return Answer(decision.site.id, outcome, tuple(each.id for each in named), ipv4, ipv6, ttl)


def unplaced(steering: Steering, address: IPv4Address | IPv6Address) -> bool:
    """Whether nobody has placed it, and nobody will: special-purpose space."""
    service = next(iter(steering.topology.services.values()))
    client = steering.topology.client(address)
    ranking = steering.decide(service, client).ranking
    return client.cell is None and ranking.rule is None and special_block(address) is not None


@given(st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_the_table_says_what_decide_says(seed: int) -> None:
    """For random geo tables, plans, statuses, prices, round trips and clients; and all over the
    scope it names."""
    rng = random.Random(seed)
    steering = random_steering(rng, random_geo(rng, rng.choice([1, 3, 20])))
    both = compiled(steering)
    for number in range(40):
        address, asked = random_asker(rng, steering), FAMILIES[number % 2]
        table = both.aaaa if asked == "ipv6" else both
        family, key = key_of(address)
        answer, scope = table.lookup(family, key)
        assert table.answers[table.settle(family, key)] == decided(steering, address, asked)
        assert (answer == ASK_RESOLVER) == unplaced(steering, address)
        assert answer in (ASK_RESOLVER, table.settle(family, key))
        bits = 32 if family == 4 else 64
        low = key >> bits - scope << bits - scope
        for _ in range(3):
            other = low | rng.getrandbits(bits) & (1 << bits - scope) - 1
            assert table.lookup(family, other) == (answer, scope)
            if family == 6 and other not in (0, 0x64FF9B << 32):
                assert normalise(IPv6Address(other << 64))[0] == 6, "scope reaches embedded IPv4"


def demo(status: str = "up", **fra: object) -> Steering:
    plan = plan_of(
        {
            "regions": [
                {"id": "fra", "latitude": 50.1, "longitude": 8.7, **fra},
                {"id": "iad", "latitude": 39.0, "longitude": -77.5},
            ],
            "relays": [
                {"id": "fra-1", "region": "fra", "ipv4": "192.0.2.1"},
                {"id": "iad-1", "region": "iad", "ipv4": "192.0.2.2"},
            ],
            "services": [{"id": "s", "name": "s.edge.example."}],
        },
        number=7,
    )
    return Steering(Topology(plan, europe_and_america()), status_of(3, fra_1=status), NOW)


def test_scopes_are_the_widest_blocks_that_fit() -> None:
    """New York's 20/8 lies among ranges with another answer: scope 8; where a split applies, 24."""
    table = compiled(demo())
    assert table.lookup(4, (20 << 24) + 12345)[1] == 8
    split = compiled(demo(weight=50))
    assert split.lookup(4, (10 << 24) + 12345)[1] == 24
    key = 0x2400 << 48
    assert table.lookup(6, key)[1] <= 12


@pytest.mark.parametrize("family", [4, 6])
def test_one_region_needs_one_answer_for_all(family: Literal[4, 6]) -> None:
    """With everything in one place scopes end only where special-purpose space begins."""
    table = compiled(demo(status="down"))
    _, scope = table.lookup(family, 10 << 24 if family == 4 else 0x2400 << 48)
    assert scope == (5 if family == 4 else 6), "0/4 holds 0/8, 2000::/5 holds 2002::/16"


def test_a_table_knows_what_it_was_made_of() -> None:
    """Numbers, digest, services and the sections of others are in the file."""
    path = folder() / "numbers.table"
    digest = compile_table(demo(), path, lambda services: {"dns": services[0].name.encode()})
    table = AnswerTable.open(path)
    assert (table.plan, table.status, table.digest) == (7, 3, digest)
    assert bytes(table.sections.bytes("dns")) == b"s.edge.example."
    starts, decisions = table.services[0].ranges(4)
    assert len(starts) == len(decisions)
    assert list(starts) == sorted(starts)


def test_scores_below_zero_are_scores() -> None:
    """A bias can make any score negative, -1 µs among them, which once was taken for a tie."""
    keys = np.array([[-1, -5, 3], [7, -5, -1]], dtype=np.int64)
    orders, which = preference_orders(keys, np.array([True, True]))
    assert [orders[each] for each in which] == [((0,),), ((0, 1),), ((1,),)]


def test_the_same_inputs_make_the_same_file() -> None:
    """Two edges that hold the same snapshots serve byte-identical tables."""
    digests = {compile_table(demo(), folder() / f"same-{n}.table") for n in range(2)}
    assert len(digests) == 1


def test_overrides_that_speak_of_nobody_change_nothing() -> None:
    """However many there are: the file is the same to the octet."""
    steering = demo(weight=50)
    nowhere = [
        {"id": f"o{n}", "country": f"{a}{b}", "mode": "only", "regions": ["iad"]}
        for n, (a, b) in enumerate((a, b) for a in "QXZ" for b in ascii_uppercase)
    ]
    document = steering.topology.plan.document.model_dump()
    busy = plan_of({**document, "overrides": nowhere}, number=7)
    digests = {
        compile_table(Steering(Topology(plan, steering.topology.geo), steering.status, NOW), path)
        for plan, path in (
            (steering.topology.plan, folder() / "calm.table"),
            (busy, folder() / "busy.table"),
        )
    }
    assert len(digests) == 1


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_table_is_refused(data: st.DataObject) -> None:
    """Cut or changed anywhere, it is a SectionError and nothing else."""
    path = folder() / "damaged.table"
    whole = bytearray(_table_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        del whole[place:]
    else:
        whole[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    with pytest.raises(SectionError, match=r"damaged\.table"):
        AnswerTable.open(path)


def _table_bytes() -> bytes:
    path = folder() / "whole.table"
    if not path.exists():
        compile_table(demo(), path)
    return path.read_bytes()


def test_files_of_another_kind_or_format_are_refused() -> None:
    """A sound file that is no answer table, or one of the future, is not taken for one."""
    path = folder() / "other.table"
    with pytest.raises(SectionError, match="kind FHANS"):
        AnswerTable.open(europe_and_america().path)
    write_sections(path, meta={"format": 99}, sections={"numbers": np.arange(3)})
    assert SectionFile(path).array("numbers", np.int64).tolist() == [0, 1, 2]
    assert "absent" not in SectionFile(path)
    with pytest.raises(SectionError, match="format 99"):
        AnswerTable.open(path)
    with pytest.raises(SectionError, match="written"):
        write_sections(path / "below-a-file", meta={}, sections={})
    with pytest.raises(SectionError, match="cannot be mapped"):
        AnswerTable.open(folder() / "absent")


def test_the_bundled_world_agrees_too() -> None:
    """On the database that ships, for clients all over both families."""
    geo = open_geodata(None, None, folder() / "bundled")
    plan = demo(weight=50).topology.plan
    steering = Steering(Topology(plan, geo), status_of(), NOW)
    table = compiled(steering)
    rng = random.Random(7)
    for _ in range(2000):
        address = random_address(rng, geo)
        answer = table.settle(*key_of(address))
        assert table.answers[answer] == decided(steering, address)
