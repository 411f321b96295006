"""The compiled answer table: one bisection finds a client's answer.

A service maps sorted range starts to decisions. A decision is a single answer, or a row of 1,024
answers, one per bucket. The file is immutable, named by the digest of its inputs, and mapped by
every worker.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from firsthop_steering.compile.sections import SectionError, SectionFile
from firsthop_steering.decision.availability import AvailabilitySource
from firsthop_steering.decision.outcome import DecisionOutcome
from firsthop_steering.decision.rendezvous import bucket

FORMAT = 4
ASK_RESOLVER = -1
"""Used instead of an answer id if the client subnet cannot be located; see
`ServiceTable.lookup`."""
SPLIT_SCOPE = {4: 24, 6: 48}
"""Length of the prefix that determines the bucket, by family; no answer has a narrower scope
because of buckets."""


class AnswerReason(NamedTuple):
    """Which source made a relay available, and since when."""

    source: AvailabilitySource
    since: float | None
    """Seconds since 1970; None if unknown."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One possible answer: a region, its relays and their addresses."""

    region: str
    """Empty if no region answers."""
    outcome: DecisionOutcome
    relays: tuple[str, ...]
    ipv4: tuple[IPv4Address, ...]
    ipv6: tuple[IPv6Address, ...]
    ttl: int
    """Seconds; at most the time until health can change this answer (`decision.lifetime`)."""

    def to_json(self) -> list[Any]:
        """The JSON form in the table's metadata."""
        return [
            self.region,
            self.outcome,
            list(self.relays),
            [str(each) for each in self.ipv4],
            [str(each) for each in self.ipv6],
            self.ttl,
        ]

    @classmethod
    def from_json(cls, raw: list[Any]) -> Answer:
        """The answer whose `to_json` is `raw`."""
        region, outcome, relays, ipv4, ipv6, ttl = raw
        return cls(
            region,
            outcome,
            tuple(relays),
            tuple(IPv4Address(each) for each in ipv4),
            tuple(IPv6Address(each) for each in ipv6),
            ttl,
        )


@dataclass(frozen=True, slots=True)
class RangeTable:
    """Ranges that partition the keys of one family; `starts` is ascending and begins with 0."""

    starts: npt.NDArray[Any]
    decisions: npt.NDArray[np.int32]

    def index(self, bits: int) -> npt.NDArray[np.uint32]:
        """Number of starts below each value of the top 16 bits, then the total: 65,537 items."""
        tops = np.arange(65536, dtype=np.uint64) << np.uint64(bits - 16)
        below = np.searchsorted(self.starts, tops.astype(self.starts.dtype), side="left")
        return np.append(below, len(self.starts)).astype(np.uint32)


class ClientRanges(NamedTuple):
    """The decisions of all clients; see `CompiledService`."""

    unlocated: int
    v4: RangeTable
    v6: RangeTable


@dataclass(frozen=True, slots=True)
class CompiledService:
    """One service's part of a table before it is written.

    `decisions[d]` is an answer id, ASK_RESOLVER, or −2 − r, where row r of `rows` holds 1,024
    answer ids, one per bucket.
    """

    id: str
    name: str
    ecs: bool
    answers: tuple[Answer, ...]
    unlocated: int
    """The decision of unlocated clients to which no override applies."""
    decisions: npt.NDArray[np.int32]
    rows: npt.NDArray[np.uint32]
    v4: RangeTable
    v6: RangeTable
    answer_reasons: dict[str, AnswerReason] = field(default_factory=dict)
    """Reasons by relay id, for all relays in `answers`."""
    aaaa: ClientRanges | None = None
    """For AAAA queries, if families are steered separately and not all regions have both; then
    `v4`, `v6` and `unlocated` are for all other queries."""
    aaaa_answers: int = 0
    """If `aaaa` is given: index of its first answer in `answers`."""


class ServiceTable:
    """One service of a mapped table."""

    __slots__ = (
        "_decisions",
        "_rows",
        "_unlocated",
        "_v4",
        "_v6",
        "aaaa",
        "aaaa_answers",
        "answer_reasons",
        "answers",
        "ecs",
        "id",
        "name",
    )

    def __init__(self, meta: dict[str, Any], sections: SectionFile, place: int) -> None:
        self.id: str = meta["id"]
        self.name: str = meta["name"]
        self.ecs: bool = meta["ecs"]
        self.answers: Sequence[Answer] = tuple(map(Answer.from_json, meta["answers"]))
        self.answer_reasons = {
            relay: AnswerReason(*reason) for relay, reason in meta["standings"].items()
        }
        self._decisions: list[int] = sections.array(f"{place}.decisions", "<i4").tolist()
        self._rows = sections.bytes(f"{place}.rows").cast("I")
        self._read(meta["unlocated"], sections, f"{place}.")
        self.aaaa: ServiceTable = self
        """The table for AAAA queries: this one, unless families are steered separately."""
        apart = meta.get("aaaa")
        if apart is not None:
            self.aaaa = copy(self)
            self.aaaa._read(apart["unlocated"], sections, f"{place}.aaaa.")
        self.aaaa_answers: int | None = apart and apart["answers"]
        """Index in `answers` of the first one for AAAA queries; None if there is one table."""

    def _read(self, unlocated: int, sections: SectionFile, prefix: str) -> None:
        self._unlocated: int = self._decisions[unlocated]
        self._v4 = _views(sections, f"{prefix}v4", "I")
        self._v6 = _views(sections, f"{prefix}v6", "Q")

    def lookup(self, family: Literal[4, 6], key: int) -> tuple[int, int]:
        """The answer id for a client, and its ECS scope as a prefix length.

        `key` is the IPv4 address, or the top 64 bits of the IPv6 address, of a normalised client
        (`firsthop_geodata.prefixes.normalise`). The scope is the widest aligned block inside the
        client's range: every client in it gets the same answer (RFC 7871 §7.2.1).

        The answer id is ASK_RESOLVER for a special-purpose address that neither the geo table nor
        an override locates: DNS then answers by the resolver's address, and the scope is that of
        the special-purpose block (RFC 7871 §10).
        """
        if family == 4:
            (starts, decisions, index), bits, top = self._v4, 32, key >> 16
        else:
            (starts, decisions, index), bits, top = self._v6, 64, key >> 48
        place = bisect_right(starts, key, index[top], index[top + 1])
        first = starts[place - 1]
        # The block must contain neither the key before the range nor the key after it.
        after = starts[place] if place < len(starts) else 1 << bits
        before = first - 1 if first else 1 << bits
        scope = bits + 1 - min((key ^ before).bit_length(), (key ^ after).bit_length())
        answer = self._decisions[decisions[place - 1]]
        if answer < ASK_RESOLVER:
            answer = self._rows[-2 - answer << 10 | bucket(family, key)]
            split = SPLIT_SCOPE[family]
            scope = split if scope < split else scope
        return answer, scope

    def settle(self, family: Literal[4, 6], key: int) -> int:
        """The answer id for a client known by its own address, such as a resolver.

        Agrees with `Steering.decide`: where `lookup` returns ASK_RESOLVER the client counts as
        unlocated.
        """
        answer, _ = self.lookup(family, key)
        if answer != ASK_RESOLVER:
            return answer
        answer = self._unlocated
        if answer < 0:
            answer = self._rows[-2 - answer << 10 | bucket(family, key)]
        return answer

    def ranges(self, family: Literal[4, 6]) -> tuple[Sequence[int], Sequence[int]]:
        """Range starts and the decision of each range, for statistics and plots."""
        starts, decisions, _ = self._v4 if family == 4 else self._v6
        return starts, decisions


_Views = tuple[Sequence[int], Sequence[int], Sequence[int]]


def _views(sections: SectionFile, prefix: str, starts: Literal["I", "Q"]) -> _Views:
    return (
        sections.bytes(f"{prefix}.starts").cast(starts),
        sections.bytes(f"{prefix}.decisions").cast("i"),
        sections.bytes(f"{prefix}.index").cast("I"),
    )


class AnswerTable:
    """A mapped table file. Raises SectionError if it is invalid or of another format version."""

    def __init__(self, sections: SectionFile) -> None:
        meta = sections.meta
        if meta.get("format") != FORMAT:
            raise SectionError(f"{sections.path}: format {meta.get('format')} is not {FORMAT}")
        self.sections = sections
        self.digest = sections.digest
        self.plan: int = meta["plan"]
        self.status: int = meta["status"]
        self.guidance: dict[str, int] = meta.get("guidance", {})
        """Numbers of the prices and latency with which it was compiled, if any."""
        self.geodata: str = meta["geodata"]
        self.services = tuple(
            ServiceTable(each, sections, place) for place, each in enumerate(meta["services"])
        )

    @classmethod
    def open(cls, path: Path) -> AnswerTable:
        """Maps and checks the file at `path`."""
        return cls(SectionFile(path))


def table_sections(services: Sequence[CompiledService]) -> dict[str, npt.NDArray[Any]]:
    """The sections that `ServiceTable` reads."""
    sections: dict[str, npt.NDArray[Any]] = {}
    for place, service in enumerate(services):
        sections[f"{place}.decisions"] = service.decisions.astype("<i4")
        sections[f"{place}.rows"] = service.rows.astype("<u4")
        sections |= _range_sections(f"{place}.", service.v4, service.v6)
        if service.aaaa is not None:
            sections |= _range_sections(f"{place}.aaaa.", service.aaaa.v4, service.aaaa.v6)
    return sections


def _range_sections(prefix: str, v4: RangeTable, v6: RangeTable) -> dict[str, npt.NDArray[Any]]:
    sections: dict[str, npt.NDArray[Any]] = {}
    for family, ranges, starts, bits in (
        ("v4", v4, "<u4", 32),
        ("v6", v6, "<u8", 64),
    ):
        sections[f"{prefix}{family}.starts"] = ranges.starts.astype(starts)
        sections[f"{prefix}{family}.decisions"] = ranges.decisions.astype("<i4")
        sections[f"{prefix}{family}.index"] = ranges.index(bits)
    return sections
