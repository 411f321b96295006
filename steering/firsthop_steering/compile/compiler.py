"""Compiles a topology and a status into the answer table for all addresses.

Applies the rules of `firsthop_steering.decision.decide` to arrays; a property test verifies that
both agree. Clients are grouped into classes (`firsthop_steering.compile.client_classes`). Each
class has a preference order: its candidates up to the first that keeps all clients. Equal
preference orders share one decision, and adjacent ranges with the same decision are merged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from firsthop_geodata.addresses import SPECIAL_PURPOSE
from firsthop_geodata.files import Writer, write_atomically
from firsthop_steering.arrays import Ints
from firsthop_steering.compile.client_classes import LAST_KEY, ClientClasses
from firsthop_steering.compile.sections import write_sections
from firsthop_steering.compile.service_compiler import ServiceCompiler
from firsthop_steering.compile.table import (
    ASK_RESOLVER,
    FORMAT,
    Answer,
    AnswerReason,
    ClientRanges,
    CompiledService,
    RangeTable,
    table_sections,
)
from firsthop_steering.decision.availability import FAMILIES, Availability
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.rendezvous import BUCKETS
from firsthop_steering.decision.topology import key_range
from firsthop_steering.plan.model import Service

_EMBEDDED_IPV4 = ((0, 1), (0x0064FF9B00000000, 0x0064FF9B00000001), (0x2002 << 48, 0x2003 << 48))
"""Key ranges whose addresses embed an IPv4 address, which is looked up instead: ::/64 (mapped),
64:ff9b::/64 (NAT64) and 2002::/16 (6to4). No IPv6 scope may overlap them."""


def compile_table(
    steering: Steering,
    path: Path,
    more_sections: Callable[[Sequence[CompiledService]], dict[str, bytes]] = lambda _: {},
    *,
    write: Writer = write_atomically,
    checkpoint: Callable[[], None] = lambda: None,
) -> str:
    """Writes the table of all services to `path` and returns its digest.

    `more_sections` returns further sections for the same file (DNS adds the zones). `checkpoint` is
    called between steps; it aborts the compilation by raising. Raises SectionError if the table
    cannot be written.
    """
    services = [
        compile_service(steering, service, checkpoint)
        for service in steering.topology.services.values()
    ]
    meta: dict[str, Any] = {
        "format": FORMAT,
        "plan": steering.topology.plan.number,
        "status": steering.status.number,
        "geodata": steering.topology.geo.digest,
        "services": [
            {
                "id": each.id,
                "name": each.name,
                "ecs": each.ecs,
                "unlocated": each.unlocated,
                "aaaa": each.aaaa
                and {"unlocated": each.aaaa.unlocated, "answers": each.aaaa_answers},
                "answers": [answer.to_json() for answer in each.answers],
                "standings": each.answer_reasons,
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
    """Compiles one service's ranges, decisions and answers; of each family by itself if they may be
    answered with different regions."""
    if not steering.separates(service):
        return _compile(steering, service, checkpoint)
    four, six = (_compile(steering.only(family), service, checkpoint) for family in FAMILIES)
    return _with_aaaa(four, six)


def _compile(
    steering: Steering, service: Service, checkpoint: Callable[[], None]
) -> CompiledService:
    classes = ClientClasses(steering, service)
    pool = classes.pool
    answers = ServiceCompiler(steering, service, pool)
    starts4, classes4 = _ranges(steering, classes, 4)
    checkpoint()
    starts6, classes6 = _ranges(steering, classes, 6)
    checkpoint()
    decisions = classes.decide(answers, np.concatenate([classes4, classes6]), checkpoint)
    checkpoint()
    (unlocated_decision,) = answers.decide(None, np.array([steering.rtt.unlocated]))
    v6 = _merge(starts6, decisions[len(starts4) :], breaks=_EMBEDDED_IPV4)
    v4 = _merge(starts4, decisions[: len(starts4)])
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
        _answer_reasons(steering.candidates_up(service, pool).availabilities, answers.answers),
    )


def _with_aaaa(four: CompiledService, six: CompiledService) -> CompiledService:
    """One service with the answers of both; `six` is for AAAA, its ids follow those of `four`."""
    answers, rows, decisions = len(four.answers), len(four.rows), len(four.decisions)
    ids = six.decisions
    moved = np.where(ids >= 0, ids + answers, np.where(ids == ASK_RESOLVER, ids, ids - rows))
    return replace(
        four,
        answers=(*four.answers, *six.answers),
        decisions=np.concatenate([four.decisions, moved]).astype(np.int32),
        rows=np.concatenate([four.rows, six.rows + np.uint32(answers)]).astype(np.uint32),
        aaaa=ClientRanges(
            six.unlocated + decisions,
            RangeTable(six.v4.starts, six.v4.decisions + np.int32(decisions)),
            RangeTable(six.v6.starts, six.v6.decisions + np.int32(decisions)),
        ),
        aaaa_answers=answers,
        answer_reasons=four.answer_reasons | six.answer_reasons,
    )


def _answer_reasons(
    known: Mapping[str, Availability], answers: Iterable[Answer]
) -> dict[str, AnswerReason]:
    """For each relay in `answers`, the source of its availability, and since when it holds."""
    named = {relay: known[relay] for answer in answers for relay in answer.relays}
    return {
        relay: AnswerReason(
            availability.source, availability.since.timestamp() if availability.since else None
        )
        for relay, availability in sorted(named.items())
    }


def _ranges(
    steering: Steering, classes: ClientClasses, family: Literal[4, 6]
) -> tuple[npt.NDArray[np.uint64], Ints]:
    """Range starts of one family, and the client class of each range."""
    geo = steering.topology.geo
    cell_starts, cells = (
        (geo.v4_starts, geo.v4_cells) if family == 4 else (geo.v6_starts, geo.v6_cells)
    )
    blocks = [key_range(block) for block in SPECIAL_PURPOSE if block.version == family]
    blocks += [(first, end - 1) for first, end in _EMBEDDED_IPV4] if family == 6 else []
    special = np.array(blocks, dtype=np.uint64)
    firsts, lasts = classes.split_ranges(family)
    lasts = np.concatenate([lasts, special[:, 1]])
    behind = lasts[lasts < LAST_KEY[family]] + np.uint64(1)
    starts = _with_edges(cell_starts.astype(np.uint64), [firsts, special[:, 0], behind])
    indexes = np.searchsorted(cell_starts, starts.astype(cell_starts.dtype), side="right") - 1
    return starts, classes.of_keys(family, starts, cells[indexes])


def _with_edges(
    starts: npt.NDArray[np.uint64], more: Sequence[npt.NDArray[Any]]
) -> npt.NDArray[np.uint64]:
    """Inserts the edges in `more` into the ascending `starts`; fast if there are few edges."""
    edges = np.unique(np.concatenate([each.astype(np.uint64) for each in more]))
    indexes = np.searchsorted(starts, edges)
    new = starts[np.minimum(indexes, len(starts) - 1)] != edges
    return np.insert(starts, indexes[new], edges[new])


def _merge(
    starts: npt.NDArray[np.uint64],
    decisions: npt.NDArray[np.int32],
    breaks: Sequence[tuple[int, int]] = (),
) -> RangeTable:
    """Merges adjacent ranges with the same decision, but never across a break."""
    keep = np.ones(len(starts), dtype=bool)
    keep[1:] = decisions[1:] != decisions[:-1]
    edges = np.array([edge for pair in breaks for edge in pair], dtype=np.uint64)
    keep |= np.isin(starts, edges)
    return RangeTable(starts[keep], decisions[keep])
