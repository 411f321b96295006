"""Which clients of a service are decided alike, but for their bucket: those of one cohort.

A cohort is a column of the RTT map and the rule that speaks; it is packed into one number, column ×
(rules + 2) + rule. The rule after the last stands for "none", and the one after that for "ask the
resolver": a special-purpose block that nobody has placed.
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
    """Those of one service."""

    def __init__(self, steering: Steering, service: Service) -> None:
        self.pool = service.answer_pool
        self.rules = steering.rules(service, self.pool)
        self._steering = steering
        self._geo = steering.topology.geo
        self._step = len(self.rules) + 2

    def split_ranges(self, family: Literal[4, 6]) -> tuple[Keys, Keys]:
        """First and last keys of all ranges whose clients their cell alone does not tell.

        Those of rules by CIDR or AS number and of learned prefixes; they may overlap.
        """
        blocks = [key_range(r.cidr) for r in self.rules if r.cidr and r.cidr.version == family]
        cidrs = np.array(blocks, dtype=np.uint64).reshape(-1, 2)
        pieces = self._steering.rtt.pieces(self.pool, family)
        starts, values = self._asns(family)
        hit = np.flatnonzero(np.isin(values, [r.asn for r in self.rules if r.asn is not None]))
        after = np.append(starts[1:].astype(np.uint64), np.uint64(0))  # less 1: the last key
        asn_lasts = np.minimum(after[hit] - np.uint64(1), np.uint64(LAST_KEY[family]))
        return (
            np.concatenate([cidrs[:, 0], starts[hit].astype(np.uint64), pieces.firsts]),
            np.concatenate([cidrs[:, 1], asn_lasts, pieces.lasts]),
        )

    def of_cells(self) -> Ints:
        """The cohort of each cell's clients, of whose address nothing else is known."""
        cells = np.arange(len(self._geo), dtype=np.int64)
        return cells * self._step + self._speaking_of_places(cells)

    def of_keys(self, family: Literal[4, 6], keys: Keys, cells: npt.NDArray[np.uint32]) -> Ints:
        """The cohort of each of the ascending `keys`, which lie in these cells or NO_CELL."""
        located = cells != NO_CELL
        places = np.where(located, cells, self._steering.rtt.unlocated).astype(np.int64)
        speaking = self._speaking_of_places(places)
        asns: npt.NDArray[np.uint32] | None = None
        for number in reversed(range(len(self.rules))):  # the most specific has the last word
            rule = self.rules[number]
            if rule.cidr is not None:
                if rule.cidr.version == family:
                    speaking[_span(keys, *key_range(rule.cidr))] = number
            elif rule.asn is not None:
                if asns is None:
                    starts, values = self._asns(family)
                    sought = keys.astype(starts.dtype)
                    asns = values[np.searchsorted(starts, sought, side="right") - 1]
                speaking[asns == rule.asn] = number
        for block in SPECIAL_PURPOSE:
            if block.version == family:
                here = _span(keys, *key_range(block))
                speaking[here][~located[here] & (speaking[here] == len(self.rules))] += 1
        return self._columns(family, keys, places) * self._step + speaking

    def settled(self, classes: Ints) -> Ints:
        """The same, where nobody asks a resolver: such clients count as not located."""
        settled: Ints = classes - (classes % self._step == self._step - 1)
        return settled

    def columns(self, classes: Ints) -> Ints:
        """The column of the RTT map that each cohort is in."""
        return classes // self._step

    def decide(
        self, answers: ServiceCompiler, classes: Ints, checkpoint: Callable[[], None] = lambda: None
    ) -> npt.NDArray[np.int32]:
        """The decision of each; `checkpoint` as in `firsthop_steering.compile.compiler`."""
        limit = self._steering.rtt.rtt_us(self.pool).shape[1] * self._step
        distinct, inverse = numbered(classes, limit)
        columns, speaking = np.divmod(distinct, self._step)
        decisions = np.full(len(distinct), answers.ask_resolver, dtype=np.int32)
        for number, rule in enumerate((*self.rules, None)):
            members = np.flatnonzero(speaking == number)
            if len(members):
                checkpoint()
                decisions[members] = answers.decide(rule, columns[members])
        return decisions[inverse]

    def _speaking_of_places(self, places: Ints) -> Ints:
        """The rule by country or continent that speaks of each cell; of no place none does."""
        speaking = np.full(len(self._geo) + 1, len(self.rules), dtype=np.int64)
        for number in reversed(range(len(self.rules))):
            rule = self.rules[number]
            wanted = rule.country or rule.continent
            if wanted is not None:
                known = self._geo.country_codes if rule.country else self._geo.continent_codes
                names, codes = known
                if wanted in names:
                    speaking[:-1][codes == names.index(wanted)] = number
        return speaking[places]

    def _asns(
        self, family: Literal[4, 6]
    ) -> tuple[npt.NDArray[np.uint32] | npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
        geo = self._geo
        if family == 4:
            return geo.v4_asn_starts, geo.v4_asns
        return geo.v6_asn_starts, geo.v6_asns

    def _columns(self, family: Literal[4, 6], keys: Keys, places: Ints) -> Ints:
        """The column of every key: that of the piece it lies in, else that of its place."""
        pieces = self._steering.rtt.pieces(self.pool, family)
        low = np.searchsorted(keys, pieces.firsts)
        counts = np.searchsorted(keys, pieces.lasts, side="right") - low
        inside = np.arange(counts.sum()) + np.repeat(low - (np.cumsum(counts) - counts), counts)
        columns = places.copy()
        columns[inside] = np.repeat(pieces.columns, counts)
        return columns


def _span(keys: Keys, first: int, last: int) -> slice:
    """The keys from `first` to `last`."""
    low = np.searchsorted(keys, np.uint64(first))
    return slice(int(low), int(np.searchsorted(keys, np.uint64(last), side="right")))
