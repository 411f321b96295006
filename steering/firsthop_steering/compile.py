"""From an atlas and a status to the answer table, for all addresses at once.

The same rules as `firsthop_steering.decide`, over arrays: a property test holds the two together.
Clients are grouped by (column of the RTT map, rule); each group has a *walk*, the candidates in
order up to the one that keeps everybody; equal walks share one decision; neighbouring ranges of one
decision are merged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from firsthop_geodata.addresses import SPECIAL_PURPOSE
from firsthop_geodata.files import Writer, write_atomically
from firsthop_geodata.prefixes import NO_CELL
from firsthop_steering.answerbook import AnswerBook
from firsthop_steering.atlas import Pool, Rule, key_range
from firsthop_steering.decide import Steering
from firsthop_steering.model import Service
from firsthop_steering.rendezvous import BUCKETS
from firsthop_steering.rtt_map import Pieces
from firsthop_steering.sections import write_sections
from firsthop_steering.standing import Standing
from firsthop_steering.table import (
    FORMAT,
    Answer,
    CompiledService,
    RangeTable,
    Word,
    table_sections,
)
from firsthop_steering.walks import Ints

_EMBEDDED_IPV4 = ((0, 1), (0x0064FF9B00000000, 0x0064FF9B00000001), (0x2002 << 48, 0x2003 << 48))
"""Key ranges whose addresses hold an IPv4 address, which is looked up instead; no IPv6 scope may
reach into them: ::/64 (mapped), 64:ff9b::/64 (NAT64) and 2002::/16 (6to4)."""


def compile_table(
    steering: Steering,
    path: Path,
    more_sections: Callable[[Sequence[CompiledService]], dict[str, bytes]] = lambda _: {},
    *,
    write: Writer = write_atomically,
    checkpoint: Callable[[], None] = lambda: None,
) -> str:
    """Writes the table of all services to `path`; returns its digest.

    `more_sections` adds what others keep in the same file (the zones, by dns). `checkpoint` is
    called between the steps of the work, and ends it by raising. Raises SectionError when the table
    cannot be written.
    """
    services = [
        compile_service(steering, service, checkpoint)
        for service in steering.atlas.services.values()
    ]
    meta: dict[str, Any] = {
        "format": FORMAT,
        "plan": steering.atlas.plan.number,
        "status": steering.status.number,
        "geodata": steering.atlas.geo.digest,
        "services": [
            {
                "id": each.id,
                "name": each.name,
                "ecs": each.ecs,
                "unlocated": each.unlocated,
                "answers": [answer.to_json() for answer in each.answers],
                "standings": each.standings,
            }
            for each in services
        ],
    }
    guidance = {"prices": steering.prices, "latency": steering.rtt.latency}
    numbers = {kind: each.number for kind, each in guidance.items() if each is not None}
    if numbers:
        meta["guidance"] = numbers
    sections: dict[str, bytes | npt.NDArray[Any]] = {**table_sections(services)}
    sections.update(more_sections(services))
    return write_sections(path, meta=meta, sections=sections, write=write)


def compile_service(
    steering: Steering, service: Service, checkpoint: Callable[[], None] = lambda: None
) -> CompiledService:
    """One service's ranges, decisions and answers."""
    pool: Pool = "relays" if service.pool == "relays" else "signalling"
    rules = steering.rules(service, pool)
    answers = AnswerBook(steering, service, pool)
    starts4, groups4 = _groups(steering, pool, rules, 4)
    checkpoint()
    starts6, groups6 = _groups(steering, pool, rules, 6)
    checkpoint()
    groups, inverse = _distinct(
        np.concatenate([groups4, groups6]),
        steering.rtt.rtt_us(pool).shape[1] * (len(rules) + 2),
    )
    columns, speaking = np.divmod(groups, len(rules) + 2)
    decision_of_group = np.full(len(groups), answers.ask_resolver, dtype=np.int32)
    for number, rule in enumerate((*rules, None)):
        members = np.flatnonzero(speaking == number)
        if len(members):
            checkpoint()
            decision_of_group[members] = answers.decide(rule, columns[members])
    decisions = decision_of_group[inverse]
    checkpoint()
    (unlocated_decision,) = answers.decide(None, np.array([steering.rtt.unlocated]))
    v6 = _merge(starts6, decisions[len(groups4) :], breaks=_EMBEDDED_IPV4)
    v4 = _merge(starts4, decisions[: len(groups4)])
    return CompiledService(
        service.id,
        service.name,
        service.ecs,
        tuple(answers.answers),
        int(unlocated_decision),
        np.array(answers.decisions, dtype=np.int32),
        np.array(answers.rows, dtype=np.uint32).reshape(-1, BUCKETS),
        v4,
        v6,
        _standings(steering.roster(service, pool).standings, answers.answers),
    )


def _standings(known: Mapping[str, Standing], answers: Iterable[Answer]) -> dict[str, Word]:
    """Whose word it is that the relays of these answers are there."""
    named = {relay: known[relay] for answer in answers for relay in answer.relays}
    return {
        relay: Word(stands.source, stands.since.timestamp() if stands.since else None)
        for relay, stands in sorted(named.items())
    }


def _groups(
    steering: Steering, pool: Pool, rules: Sequence[Rule], family: int
) -> tuple[npt.NDArray[np.uint64], Ints]:
    """Range starts of one family, and for each range column × (rules + 2) + rule.

    The rule after the last stands for "none", and the one after that for "ask the resolver": a
    special-purpose block that nobody has placed.
    """
    geo = steering.atlas.geo
    cell_starts, cell_values = (
        (geo.v4_starts, geo.v4_cells) if family == 4 else (geo.v6_starts, geo.v6_cells)
    )
    asn_starts, asn_values = (
        (geo.v4_asn_starts, geo.v4_asns) if family == 4 else (geo.v6_asn_starts, geo.v6_asns)
    )
    wanted = [rule.asn for rule in rules if rule.asn is not None]
    hit = np.isin(asn_values, wanted)
    special = [key_range(block) for block in SPECIAL_PURPOSE if block.version == family]
    cuts = [key_range(r.cidr) for r in rules if r.cidr and r.cidr.version == family]
    cuts += [(first, end - 1) for first, end in _EMBEDDED_IPV4] if family == 6 else []
    pieces = steering.rtt.pieces(pool, family)
    last = (1 << (32 if family == 4 else 64)) - 1
    points = [
        point for first, end in (*cuts, *special) for point in (first, end + 1) if point <= last
    ]
    starts = _with_edges(
        cell_starts.astype(np.uint64),
        [
            asn_starts[hit | np.roll(hit, 1)],
            np.array(points, dtype=np.uint64),
            pieces.firsts,
            pieces.lasts[pieces.lasts < last] + np.uint64(1),
        ],
    )
    cells = cell_values[np.searchsorted(cell_starts, starts, side="right") - 1].astype(np.int64)
    located = cells != NO_CELL
    cells[~located] = steering.rtt.unlocated
    asns = asn_values[np.searchsorted(asn_starts, starts, side="right") - 1] if wanted else None
    countries = np.array([*geo.countries, ""])
    continents = np.array([*geo.continents, ""])
    speaking = np.full(len(starts), len(rules), dtype=np.int64)
    for number in reversed(range(len(rules))):  # the most specific has the last word
        rule = rules[number]
        if rule.cidr is not None:
            if rule.cidr.version == family:
                speaking[_span(starts, *key_range(rule.cidr))] = number
        elif rule.asn is not None:
            assert asns is not None
            speaking[asns == rule.asn] = number
        elif rule.country is not None:
            speaking[(countries == rule.country)[cells]] = number
        else:
            speaking[(continents == rule.continent)[cells]] = number
    for block in special:
        here = _span(starts, *block)
        speaking[here][~located[here] & (speaking[here] == len(rules))] += 1
    return starts, _columns(starts, cells, pieces) * (len(rules) + 2) + speaking


def _columns(starts: npt.NDArray[np.uint64], cells: Ints, pieces: Pieces) -> Ints:
    """The column of every range: that of the piece it lies in, else that of its cell."""
    low = np.searchsorted(starts, pieces.firsts)
    counts = np.searchsorted(starts, pieces.lasts, side="right") - low
    inside = np.arange(counts.sum()) + np.repeat(low - (np.cumsum(counts) - counts), counts)
    columns = cells.copy()
    columns[inside] = np.repeat(pieces.columns, counts)
    return columns


def _with_edges(
    starts: npt.NDArray[np.uint64], more: Sequence[npt.NDArray[Any]]
) -> npt.NDArray[np.uint64]:
    """Ascending `starts`, cut at the edges in `more` as well; of those there may be few."""
    edges = np.unique(np.concatenate([each.astype(np.uint64) for each in more]))
    places = np.searchsorted(starts, edges)
    new = starts[np.minimum(places, len(starts) - 1)] != edges
    return np.insert(starts, places[new], edges[new])


def _span(starts: npt.NDArray[np.uint64], first: int, last: int) -> slice:
    """The ranges that begin from `first` to `last`."""
    low = np.searchsorted(starts, np.uint64(first))
    return slice(int(low), int(np.searchsorted(starts, np.uint64(last), side="right")))


def _distinct(groups: Ints, limit: int) -> tuple[Ints, Ints]:
    """The distinct groups, ascending, and the place of each group among them.

    All are below `limit`. Marking each is several times as fast as sorting millions of them, but
    takes memory for `limit`, so it is not for many rules.
    """
    if limit > 4 * len(groups):
        distinct, places = np.unique(groups, return_inverse=True)
        return distinct, places.reshape(-1)
    seen = np.zeros(limit, dtype=bool)
    seen[groups] = True
    return np.flatnonzero(seen), (np.cumsum(seen) - 1)[groups]


def _merge(
    starts: npt.NDArray[np.uint64],
    decisions: npt.NDArray[np.int32],
    breaks: Sequence[tuple[int, int]] = (),
) -> RangeTable:
    """Joins neighbours of one decision, but never across a break."""
    keep = np.ones(len(starts), dtype=bool)
    keep[1:] = decisions[1:] != decisions[:-1]
    edges = np.array([edge for pair in breaks for edge in pair], dtype=np.uint64)
    keep |= np.isin(starts, edges)
    return RangeTable(starts[keep], decisions[keep])
