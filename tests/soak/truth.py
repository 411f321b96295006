"""What chaos really did, what clients really heard, and which of it must not be. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from soak.schedule import EDGE_RETURNS_S, group

BUDGET_S = 12.0
"""So long after a relay's fault no edge may answer with it, unless something between was disturbed
within this time. Design: 6 s; as much again for processes that have just been started again."""


class Span(NamedTuple):
    """One fault as it was: from before it began until after it was undone (seconds since 1970)."""

    target: str
    kind: str
    start: float
    end: float


class Asked(NamedTuple):
    """One query of a client, by the edge that answered: none, and no address, if nobody did."""

    start: float
    end: float
    client: str
    edge: str
    address: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What the rules say of a run."""

    asked: int
    judged: int
    """Answers of edges that must have known of a dead relay."""
    unanswered: tuple[Asked, ...]
    wrong: tuple[Asked, ...]


def judge(asked: Sequence[Asked], spans: Sequence[Span], relay_of: Mapping[str, str]) -> Findings:
    """Hold every query against the faults; `relay_of` gives the target at an address."""
    edges = sorted({each.edge for each in asked if each.edge})
    dead = [each for each in spans if group(each.target) == "relay"]
    between = [each for each in spans if group(each.target) not in ("relay", "agent", "edge")]
    of_edge = {edge: [each for each in spans if each.target == edge] for edge in edges}
    judged, wrong = 0, []
    for each in asked:
        known = {
            span.target
            for span in dead
            if span.start <= each.start - BUDGET_S and each.end <= span.end
        }
        if not known or not each.edge:
            continue
        if _quiet(each.start - BUDGET_S, each.end, [*between, *of_edge[each.edge]]):
            judged += 1
            if relay_of.get(each.address) in known:
                wrong.append(each)
    return Findings(len(asked), judged, tuple(_unanswered(asked, spans)), tuple(wrong))


def _unanswered(asked: Sequence[Asked], spans: Sequence[Span]) -> Iterator[Asked]:
    """Those that nobody answered, though an edge was alive all the time."""
    edges = sorted({each.target for each in spans if group(each.target) == "edge"})
    edges = sorted({*edges, *(each.edge for each in asked if each.edge)})
    for each in asked:
        if each.address:
            continue
        for edge in edges:
            # A deaf edge, or one that lost a worker, answers all the same.
            own = [s for s in spans if s.target == edge and s.kind not in ("deaf", "worker")]
            if _quiet(each.start - EDGE_RETURNS_S, each.end, own):
                yield each
                break


def _quiet(start: float, end: float, spans: Sequence[Span]) -> bool:
    return not any(span.start < end and span.end > start for span in spans)
