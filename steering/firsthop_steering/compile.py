"""From an atlas and a status to the answer table, for all addresses at once.

The same rules as `firsthop_steering.decide`, over arrays: a property test holds the two together.
Clients are grouped by (cell, rule); each group has a *walk*, the candidates in order up to the one
that keeps everybody; equal walks share one decision; neighbouring ranges of one decision are
merged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from firsthop_geodata.prefixes import NO_CELL
from firsthop_steering.atlas import Pool, Rule, key_range
from firsthop_steering.decide import Outcome, Steering, addresses, score_us, tier
from firsthop_steering.model import Service
from firsthop_steering.rendezvous import BUCKETS, draws, kept
from firsthop_steering.sections import write_sections
from firsthop_steering.table import (
    FORMAT,
    KIND,
    Answer,
    CompiledService,
    RangeTable,
    table_sections,
)

Ints = npt.NDArray[np.int64]
Walk = tuple[tuple[int, ...], ...]
"""Sites by index, in groups of equal score."""

_INELIGIBLE = np.iinfo(np.int64).max
_TIER_STEP = 1 << 40
"""Far above any score in microseconds."""

_EMBEDDED_IPV4 = ((0, 1), (0x0064FF9B00000000, 0x0064FF9B00000001), (0x2002 << 48, 0x2003 << 48))
"""Key ranges whose addresses hold an IPv4 address, which is looked up instead; no IPv6 scope may
reach into them: ::/64 (mapped), 64:ff9b::/64 (NAT64) and 2002::/16 (6to4)."""


def compile_table(
    steering: Steering,
    path: Path,
    more_sections: Callable[[Sequence[CompiledService]], dict[str, bytes]] = lambda _: {},
) -> str:
    """Writes the table of all services to `path`; returns its digest.

    `more_sections` adds what others keep in the same file (the zones, by dns).
    """
    services = [compile_service(steering, service) for service in steering.atlas.services.values()]
    meta = {
        "format": FORMAT,
        "plan": steering.atlas.plan.number,
        "status": steering.status.number,
        "geodata": steering.atlas.geo.digest,
        "services": [
            {
                "id": each.id,
                "name": each.name,
                "ttl": each.ttl,
                "ecs": each.ecs,
                "answers": [answer.to_json() for answer in each.answers],
            }
            for each in services
        ],
    }
    sections: dict[str, bytes | npt.NDArray[Any]] = {**table_sections(services)}
    sections.update(more_sections(services))
    return write_sections(path, kind=KIND, meta=meta, sections=sections)


def compile_service(steering: Steering, service: Service) -> CompiledService:
    """One service's ranges, decisions and answers."""
    pool: Pool = "relays" if service.pool == "relays" else "signalling"
    rules = steering.rules(service, pool)
    answers = _Answers(steering, service, pool)
    starts4, groups4 = _groups(steering, rules, 4)
    starts6, groups6 = _groups(steering, rules, 6)
    groups, inverse = np.unique(np.concatenate([groups4, groups6]), return_inverse=True)
    cells, speaking = np.divmod(groups, len(rules) + 1)
    decision_of_group = np.empty(len(groups), dtype=np.int32)
    for number in range(len(rules) + 1):
        members = np.flatnonzero(speaking == number)
        if len(members):
            rule = rules[number] if number < len(rules) else None
            decision_of_group[members] = answers.decide(rule, cells[members])
    decisions = decision_of_group[inverse.reshape(-1)]
    v6 = _merge(starts6, decisions[len(groups4) :], breaks=_EMBEDDED_IPV4)
    v4 = _merge(starts4, decisions[: len(groups4)])
    return CompiledService(
        service.id,
        service.name,
        service.ttl,
        service.ecs,
        tuple(answers.answers),
        np.array(answers.decisions, dtype=np.int32),
        np.array(answers.rows, dtype=np.uint32).reshape(-1, BUCKETS),
        v4,
        v6,
    )


def _groups(
    steering: Steering, rules: Sequence[Rule], family: int
) -> tuple[npt.NDArray[np.uint64], Ints]:
    """Range starts of one family, and for each range cell × (rules + 1) + rule.

    The cell after the last stands for "not located", the rule after the last for "none".
    """
    geo = steering.atlas.geo
    cell_starts, cell_values = (
        (geo.v4_starts, geo.v4_cells) if family == 4 else (geo.v6_starts, geo.v6_cells)
    )
    asn_starts, asn_values = (
        (geo.v4_asn_starts, geo.v4_asns) if family == 4 else (geo.v6_asn_starts, geo.v6_asns)
    )
    edges = [cell_starts.astype(np.uint64)]
    wanted = [rule.asn for rule in rules if rule.asn is not None]
    if wanted:
        hit = np.isin(asn_values, wanted)
        edges.append(asn_starts[hit | np.roll(hit, 1)].astype(np.uint64))
    last = (1 << (32 if family == 4 else 64)) - 1
    cuts = [key_range(r.cidr) for r in rules if r.cidr and r.cidr.version == family]
    cuts += [(first, end - 1) for first, end in _EMBEDDED_IPV4] if family == 6 else []
    points = [point for first, end in cuts for point in (first, end + 1) if point <= last]
    edges.append(np.array(points, dtype=np.uint64))
    starts = np.unique(np.concatenate(edges))
    cells = cell_values[np.searchsorted(cell_starts, starts, side="right") - 1].astype(np.int64)
    located = cells != NO_CELL
    unlocated = len(geo.latitudes)
    cells[~located] = unlocated
    asns = asn_values[np.searchsorted(asn_starts, starts, side="right") - 1] if wanted else None
    countries = np.array([*geo.countries, ""])
    continents = np.array([*geo.continents, ""])
    speaking = np.full(len(starts), len(rules), dtype=np.int64)
    for number in reversed(range(len(rules))):  # the most specific has the last word
        rule = rules[number]
        if rule.cidr is not None:
            if rule.cidr.version == family:
                first, end = key_range(rule.cidr)
                low, high = np.searchsorted(starts, np.array([first, end], dtype=np.uint64))
                high += int(high < len(starts) and starts[high] == end)
                speaking[low:high] = number
        elif rule.asn is not None:
            assert asns is not None
            speaking[asns == rule.asn] = number
        elif rule.country is not None:
            speaking[(countries == rule.country)[cells]] = number
        else:
            speaking[(continents == rule.continent)[cells]] = number
    return starts, cells * (len(rules) + 1) + speaking


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


class _Answers:
    """Collects the distinct answers and decisions of one service."""

    def __init__(self, steering: Steering, service: Service, pool: Pool) -> None:
        self._steering = steering
        self._service = service
        self._pool: Pool = pool
        self._sites = steering.atlas.pools[pool]
        self._ids: dict[Answer, int] = {}
        self._walks: dict[tuple[Walk, Outcome], int] = {}
        self._decision_ids: dict[bytes, int] = {}
        self._of_site: dict[tuple[int, Outcome], npt.NDArray[np.uint32]] = {}
        self.decisions: list[int] = []
        self.rows: list[npt.NDArray[np.uint32]] = []

    @property
    def answers(self) -> list[Answer]:
        return list(self._ids)

    def decide(self, rule: Rule | None, cells: Ints) -> Ints:
        """The decision of each cell's clients under one rule."""
        reasons, outcome = self._steering.eligibility(self._service, self._pool, rule)
        eligible = [index for index, reason in enumerate(reasons) if not reason]
        if not eligible:
            return np.full(len(cells), self._constant(self._nowhere(outcome)))
        sites = [self._sites[index] for index in eligible]
        keys = score_us(
            sites, self._steering.atlas.rtt_us(self._pool)[np.ix_(np.array(eligible), cells)]
        )
        keys += np.array([[tier(rule, site.id) * _TIER_STEP] for site in sites])
        walks, which = _walks(keys, np.array([site.weight == 100 for site in sites]))
        decisions = [
            self._walk(tuple(tuple(eligible[i] for i in group) for group in walk), outcome)
            for walk in walks
        ]
        return np.array(decisions)[which]

    def _nowhere(self, outcome: Outcome) -> Answer:
        fallback = self._service.fallback if outcome == "fallback" else ()
        return Answer(
            "",
            outcome,
            (),
            tuple(each for each in fallback if each.version == 4),
            tuple(each for each in fallback if each.version == 6),
        )

    def _walk(self, walk: Walk, outcome: Outcome) -> int:
        found = self._walks.get((walk, outcome))
        if found is None:
            found = self._walks[(walk, outcome)] = self._decision(self._row(walk, outcome))
        return found

    def _row(self, walk: Walk, outcome: Outcome) -> npt.NDArray[np.uint32]:
        """The answer of every bucket; see `decide._admit`."""
        chosen = np.full(BUCKETS, -1, dtype=np.int64)
        first = None
        for group in walk:
            members = np.array(group)
            hashes = np.stack([draws(self._sites[index].id) for index in group])
            for place in np.argsort(hashes, axis=0, kind="stable"):
                asked = members[place]
                first = asked if first is None else first
                for index in group:
                    site = self._sites[index]
                    keeps = (asked == index) & (chosen < 0) & kept(site.id, site.weight)
                    chosen[keeps] = index
        assert first is not None
        chosen = np.where(chosen < 0, first, chosen)
        row = np.empty(BUCKETS, dtype=np.uint32)
        for index in np.unique(chosen):
            here = chosen == index
            row[here] = self._site_answers(int(index), outcome)[here]
        return row

    def _site_answers(self, index: int, outcome: Outcome) -> npt.NDArray[np.uint32]:
        """Answer ids of one site, a bucket each."""
        found = self._of_site.get((index, outcome))
        if found is None:
            found = self._of_site[(index, outcome)] = self._choose(index, outcome)
        return found

    def _choose(self, index: int, outcome: Outcome) -> npt.NDArray[np.uint32]:
        site = self._sites[index]
        endpoints = self._steering.usable(site, ignore_health=outcome == "open")
        wanted = self._service.answers

        def answer(drawn: int) -> int:
            named, ipv4, ipv6 = addresses(endpoints, drawn, wanted)
            return self._id(Answer(site.id, outcome, tuple(e.id for e in named), ipv4, ipv6))

        most = max(
            sum(e.ipv4 is not None for e in endpoints), sum(e.ipv6 is not None for e in endpoints)
        )
        if most <= wanted:
            return np.full(BUCKETS, answer(0), dtype=np.uint32)
        return np.array([answer(drawn) for drawn in range(BUCKETS)], dtype=np.uint32)

    def _id(self, answer: Answer) -> int:
        return self._ids.setdefault(answer, len(self._ids))

    def _constant(self, answer: Answer) -> int:
        return self._decision(np.full(BUCKETS, self._id(answer), dtype=np.uint32))

    def _decision(self, row: npt.NDArray[np.uint32]) -> int:
        """The id of the decision with this row; rows of one answer are stored as that answer."""
        found = self._decision_ids.get(row.tobytes())
        if found is None:
            found = self._decision_ids[row.tobytes()] = len(self.decisions)
            if (row == row[0]).all():
                self.decisions.append(int(row[0]))
            else:
                self.decisions.append(-1 - len(self.rows))
                self.rows.append(row)
        return found


def _walks(keys: Ints, full: npt.NDArray[np.bool_]) -> tuple[list[Walk], Ints]:
    """The distinct walks of many clients, and which one each has.

    `keys` has one row a site and one column a client, lowest first; `full` says which sites keep
    everybody, after whose group no further one is ever asked.
    """
    keys = keys.copy()
    columns = np.arange(keys.shape[1])
    steps: list[Ints] = []
    previous = np.full(len(columns), -1, dtype=np.int64)
    ended = np.zeros(len(columns), dtype=bool)
    while len(columns):
        site = keys[:, columns].argmin(axis=0)
        key = keys[site, columns]
        tied = key == previous
        going = (key != _INELIGIBLE) & (tied | ~ended)
        columns, site, key, tied, ended = (
            values[going] for values in (columns, site, key, tied, ended)
        )
        if not len(columns):
            break
        step = np.full(keys.shape[1], -1, dtype=np.int64)
        step[columns] = site * 2 + tied
        steps.append(step)
        keys[site, columns] = _INELIGIBLE
        ended |= full[site]
        previous = key
    distinct, which = np.unique(np.stack(steps, axis=1), axis=0, return_inverse=True)
    return [_decode(row) for row in distinct.tolist()], which.reshape(-1)


def _decode(row: list[int]) -> Walk:
    groups: list[list[int]] = []
    for step in row:
        if step < 0:
            break
        if step & 1:
            groups[-1].append(step >> 1)
        else:
            groups.append([step >> 1])
    return tuple(tuple(sorted(group)) for group in groups)
