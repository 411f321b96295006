"""Everybody, counted by places and cut ranges: the same as going through the table's ranges."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np
import pytest

from firsthop_geodata.prefixes import NO_CELL
from firsthop_steering.compile.compiler import compile_service
from firsthop_steering.compile.table import ASK_RESOLVER, CompiledService
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rendezvous import BUCKETS
from firsthop_steering.whatif.simulate import simulate
from support.seeds import random_worlds
from support.worlds import random_geo, random_steering

NAME = "s.edge.example."
FAMILIES: tuple[Literal[4, 6], ...] = (4, 6)
Flows = Counter[tuple[str, str]]


def regions_at(compiled: CompiledService, family: Literal[4, 6], key: int) -> list[str]:
    """The region of every bucket, as the compiled table has it."""
    table = compiled.v4 if family == 4 else compiled.v6
    place = int(np.searchsorted(table.starts, np.uint64(key), side="right")) - 1
    answer = int(compiled.decisions[table.decisions[place]])
    assert answer != ASK_RESOLVER, "nobody who is located asks a resolver"
    ids = [answer] * BUCKETS if answer >= 0 else compiled.rows[-2 - answer].tolist()
    return [compiled.answers[each].region for each in ids]


def flows_by_ranges(sides: list[Steering], family: Literal[4, 6]) -> Flows:
    """Keys by region before and after, an IPv6 key weighed by its cell's IPv4 addresses."""
    geo = sides[0].topology.geo
    compiled = [compile_service(each, each.topology.services["s"]) for each in sides]
    if family == 6:  # its clients ask for AAAA
        compiled = [
            each if each.aaaa is None else replace(each, **each.aaaa._asdict()) for each in compiled
        ]
    starts = geo.v4_starts if family == 4 else geo.v6_starts
    edges = {*starts.tolist(), 1 << (32 if family == 4 else 64)}
    for each in compiled:
        edges |= {*(each.v4 if family == 4 else each.v6).starts.tolist()}
    found: Flows = Counter()
    for first, end in pairwise(sorted(edges)):
        cell = geo.find_cell(family, first)
        if cell == NO_CELL:
            continue
        weight = float(end - first)
        if family == 6:
            weight *= geo.v4_sizes[cell] / geo.v6_sizes[cell]
        before, after = (regions_at(each, family, first) for each in compiled)
        for pair, buckets in Counter(zip(before, after, strict=True)).items():
            found[pair] += weight * buckets / BUCKETS
    return found


@random_worlds(60)
def test_everybody_moves_as_the_compiled_tables_say(rng: random.Random) -> None:
    """Overrides of every kind, learned prefixes, prices, weights: in both families."""
    geo = random_geo(rng, rng.choice([1, 9, 40]))
    sides = [random_steering(rng, geo) for _ in range(2)]
    told = simulate(sides[0], sides[1], NAME)
    shares, moved = [], []
    for family in FAMILIES:
        flows = flows_by_ranges(sides, family)
        total = flows.total() or 1
        shares.append({pair: weight / total for pair, weight in flows.items()})
        moved.append(sum(s for (old, new), s in shares[-1].items() if old and old != new))
    assert told.moved == pytest.approx(moved[0], abs=1e-6)
    assert told.moved_ipv6 == pytest.approx(moved[1], abs=1e-6)
    found = {(m.source or "", m.target or ""): m.share for m in told.moves}
    wanted = {pair: share for pair, share in shares[0].items() if pair[0] != pair[1]}
    assert found == pytest.approx(wanted, abs=1e-6)
    for each in told.regions:
        before = sum(s for (old, _), s in shares[0].items() if old == each.region)
        after = sum(s for (_, new), s in shares[0].items() if new == each.region)
        assert (each.before, each.after) == pytest.approx((before, after), abs=1e-6)
