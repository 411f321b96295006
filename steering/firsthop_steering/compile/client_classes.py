"""Client classes of a service: clients of one class get decisions that differ only by bucket.

A class is a column of the RTT map together with the override that applies, packed into one number:
column × (rules + 2) + rule. Rule number `len(rules)` means that no override applies; the number
after it means "use the resolver": an unlocated client in a special-purpose block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from firsthop_geodata.addresses import SPECIAL_PURPOSE
from firsthop_geodata.prefixes import NO_CELL
from firsthop_steering.arrays import Ints, Keys
from firsthop_steering.compile.preferences import numbered
from firsthop_steering.compile.service_compiler import ServiceCompiler
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.topology import key_range
from firsthop_steering.plan.model import Service

LAST_KEY = {4: (1 << 32) - 1, 6: (1 << 64) - 1}


class ClientClasses:
    """The client classes of one service."""

    def __init__(self, steering: Steering, service: Service) -> None:
        self.pool = service.answer_pool
        self.rules = steering.rules(service, self.pool)
        self._steering = steering
        self._geo = steering.topology.geo
        self._step = len(self.rules) + 2

    def split_ranges(self, family: Literal[4, 6]) -> tuple[Keys, Keys]:
        """First and last keys of all ranges whose class depends on more than their cell.

        These are the ranges of overrides by CIDR or AS number, and of learned prefixes; they may
        overlap.
        """
        blocks = [key_range(r.cidr) for r in self.rules if r.cidr and r.cidr.version == family]
        cidrs = np.array(blocks, dtype=np.uint64).reshape(-1, 2)
        pieces = self._steering.rtt.pieces(self.pool, family)
        starts, values = self._asns(family)
        hit = np.flatnonzero(np.isin(values, [r.asn for r in self.rules if r.asn is not None]))
        after = np.append(starts[1:].astype(np.uint64), np.uint64(0))  # minus 1: the last key
        asn_lasts = np.minimum(after[hit] - np.uint64(1), np.uint64(LAST_KEY[family]))
        return (
            np.concatenate([cidrs[:, 0], starts[hit].astype(np.uint64), pieces.firsts]),
            np.concatenate([cidrs[:, 1], asn_lasts, pieces.lasts]),
        )

    def of_cells(self) -> Ints:
        """The class of each cell's clients that are outside all `split_ranges`."""
        cells = np.arange(len(self._geo), dtype=np.int64)
        return cells * self._step + self._rules_of_columns(cells)

    def of_keys(self, family: Literal[4, 6], keys: Keys, cells: npt.NDArray[np.uint32]) -> Ints:
        """The class of each key; `keys` ascend, and `cells` has the cell of each, or NO_CELL."""
        located = cells != NO_CELL
        columns = np.where(located, cells, self._steering.rtt.unlocated).astype(np.int64)
        rules = self._rules_of_columns(columns)
        asns: npt.NDArray[np.uint32] | None = None
        for number in reversed(range(len(self.rules))):  # the most specific rule is applied last
            rule = self.rules[number]
            if rule.cidr is not None:
                if rule.cidr.version == family:
                    rules[_span(keys, *key_range(rule.cidr))] = number
            elif rule.asn is not None:
                if asns is None:
                    starts, values = self._asns(family)
                    sought = keys.astype(starts.dtype)
                    asns = values[np.searchsorted(starts, sought, side="right") - 1]
                rules[asns == rule.asn] = number
        for block in SPECIAL_PURPOSE:
            if block.version == family:
                here = _span(keys, *key_range(block))
                rules[here][~located[here] & (rules[here] == len(self.rules))] += 1
        return self._columns(family, keys, columns) * self._step + rules

    def settled(self, classes: Ints) -> Ints:
        """Replaces "use the resolver" by "no override": such clients count as unlocated."""
        settled: Ints = classes - (classes % self._step == self._step - 1)
        return settled

    def columns(self, classes: Ints) -> Ints:
        """The RTT column of each class."""
        return classes // self._step

    def decide(
        self, answers: ServiceCompiler, classes: Ints, checkpoint: Callable[[], None] = lambda: None
    ) -> npt.NDArray[np.int32]:
        """The decision of each class; `checkpoint` as in `compiler.compile_table`."""
        limit = self._steering.rtt.rtt_us(self.pool).shape[1] * self._step
        distinct, inverse = numbered(classes, limit)
        columns, rules = np.divmod(distinct, self._step)
        decisions = np.full(len(distinct), answers.ask_resolver, dtype=np.int32)
        for number, rule in enumerate((*self.rules, None)):
            members = np.flatnonzero(rules == number)
            if len(members):
                checkpoint()
                decisions[members] = answers.decide(rule, columns[members])
        return decisions[inverse]

    def _rules_of_columns(self, columns: Ints) -> Ints:
        """The override by country or continent that applies to each column's cell, if any."""
        rules = np.full(len(self._geo) + 1, len(self.rules), dtype=np.int64)
        for number in reversed(range(len(self.rules))):
            rule = self.rules[number]
            wanted = rule.country or rule.continent
            if wanted is not None:
                known = self._geo.country_codes if rule.country else self._geo.continent_codes
                names, codes = known
                if wanted in names:
                    rules[:-1][codes == names.index(wanted)] = number
        return rules[columns]

    def _asns(
        self, family: Literal[4, 6]
    ) -> tuple[npt.NDArray[np.uint32] | npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
        geo = self._geo
        if family == 4:
            return geo.v4_asn_starts, geo.v4_asns
        return geo.v6_asn_starts, geo.v6_asns

    def _columns(self, family: Literal[4, 6], keys: Keys, columns: Ints) -> Ints:
        """The RTT column of every key: of the learned piece that contains it, or of its cell."""
        pieces = self._steering.rtt.pieces(self.pool, family)
        low = np.searchsorted(keys, pieces.firsts)
        counts = np.searchsorted(keys, pieces.lasts, side="right") - low
        inside = np.arange(counts.sum()) + np.repeat(low - (np.cumsum(counts) - counts), counts)
        columns = columns.copy()
        columns[inside] = np.repeat(pieces.columns, counts)
        return columns


def _span(keys: Keys, first: int, last: int) -> slice:
    """The slice of the ascending `keys` from `first` to `last`."""
    low = np.searchsorted(keys, np.uint64(first))
    return slice(int(low), int(np.searchsorted(keys, np.uint64(last), side="right")))
