"""Scopes keep RFC 7871's promise by construction, whatever the ranges and decisions are."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Literal

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from firsthop_steering.compile.sections import write_sections
from firsthop_steering.compile.table import (
    ASK_RESOLVER,
    FORMAT,
    SPLIT_SCOPE,
    Answer,
    AnswerTable,
    CompiledService,
    RangeTable,
    ServiceTable,
    table_sections,
)
from support.worlds import folder

Family = Literal[4, 6]
BITS = {4: 32, 6: 64}
DECISIONS = np.array([ASK_RESOLVER, 0, 1, -2], dtype=np.int32)
"""Ask the resolver, one answer, another, and a split between the two."""


def table_of(family: Family, starts: list[int], decisions: list[int]) -> ServiceTable:
    """A table whose one family has these ranges; neighbours may have equal decisions."""
    one = RangeTable(np.array(starts, dtype=np.uint64), np.array(decisions, dtype=np.int32))
    other = RangeTable(np.array([0], dtype=np.uint64), np.array([1], dtype=np.int32))
    answers = tuple(
        Answer(id_, "steered", (), (IPv4Address("192.0.2.1"),), (), 30) for id_ in ("a", "b")
    )
    rows = np.arange(1024, dtype=np.uint32).reshape(1, 1024) % 2
    v4, v6 = (one, other) if family == 4 else (other, one)
    service = CompiledService("s", "s.", True, answers, 1, DECISIONS, rows.astype("<u4"), v4, v6)
    meta = {
        "format": FORMAT,
        "plan": 1,
        "status": 1,
        "geodata": "",
        "services": [
            {
                "id": "s",
                "name": "s.",
                "ecs": True,
                "unlocated": 1,
                "answers": [each.to_json() for each in answers],
                "standings": {},
            }
        ],
    }
    path = folder() / "scopes.table"
    write_sections(path, meta=meta, sections={**table_sections([service])})
    return AnswerTable.open(path).services[0]


@st.composite
def ranges(draw: st.DrawFn, family: Family) -> tuple[list[int], list[int]]:
    """Up to 13 ranges with edges at wide and at narrow places."""
    bits = BITS[family]
    edge = st.integers(0, 2**bits - 1)
    wide = st.builds(lambda value, shift: value >> shift << shift, edge, st.integers(0, bits - 1))
    starts = sorted({0, *draw(st.lists(edge | wide, max_size=12))})
    count = len(starts)
    return starts, draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))


@given(st.data(), st.sampled_from([4, 6]))
def test_everybody_in_a_scope_gets_its_answer_and_its_scope(
    data: st.DataObject, family: Family
) -> None:
    """So scopes never overlap: two that met in an address would be one."""
    starts, decisions = data.draw(ranges(family))
    table, bits = table_of(family, starts, decisions), BITS[family]
    near = st.sampled_from(starts).flatmap(
        lambda start: st.integers(max(0, start - 2), min(2**bits - 1, start + 2))
    )
    for key in data.draw(st.lists(st.integers(0, 2**bits - 1) | near, min_size=1, max_size=20)):
        said = table.lookup(family, key)
        size = 1 << bits - said[1]
        low = key // size * size
        for other in (low, low + size - 1, low + data.draw(st.integers(0, size - 1))):
            assert table.lookup(family, other) == said


@given(st.data(), st.sampled_from([4, 6]))
def test_no_wider_block_would_do(data: st.DataObject, family: Family) -> None:
    """Twice the block holds another range, or a split's narrowest block has been reached."""
    starts, decisions = data.draw(ranges(family))
    table, bits = table_of(family, starts, decisions), BITS[family]
    key = data.draw(st.integers(0, 2**bits - 1))
    answer, scope = table.lookup(family, key)
    place = int(np.searchsorted(np.array(starts, dtype=np.uint64), np.uint64(key), "right")) - 1
    if DECISIONS[decisions[place]] < ASK_RESOLVER:
        assert answer >= 0
        assert scope >= SPLIT_SCOPE[family]
    if scope and scope != SPLIT_SCOPE[family]:
        size = 2 << bits - scope
        low = key // size * size
        last = starts[place + 1] - 1 if place + 1 < len(starts) else 2**bits - 1
        assert low < starts[place] or low + size - 1 > last
