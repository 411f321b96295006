"""Which fault happens when: a pure function of a seed. Knows names, and no processes.

Periods of a storm and a lull. In a storm everything may fail, much of it at once; into the lull
lasts one relay's fault alone, so that there is time in which every edge must have noticed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

STORM_S, LULL_S = 12.0, 18.0
PERIOD_S = STORM_S + LULL_S
FAULTS_A_STORM = (10, 16)
"""Of which about a third fall to the rules below."""
SHORTEST_S = 1.0
REST_S = 120.0
"""Between two faults of one relay: sooner, and damping (docs/health.md) would keep it down."""
RELAYS_AT_ONCE = 2
"""Of seven: the depool guard would keep the others from being down."""
EDGES_AT_ONCE = 2
EDGE_RETURNS_S = 6.0
"""A killed edge is not counted as alive for so long after its fault."""

KINDS: Mapping[str, tuple[str, ...]] = {
    "controlplane": ("kill", "stop", "cut"),
    "database": ("kill", "stop", "cut"),
    "edge": ("kill", "stop", "cut", "deaf", "worker"),
    "vantage": ("kill", "stop", "cut"),
    "relay": ("kill", "stop", "lose"),
    "agent": ("kill", "stop"),
}
"""What may happen to targets, by the word before their number.

kill: SIGKILL, and started again at the end; stop: SIGSTOP and SIGCONT; cut: its network link is
down; lose: its packets vanish; deaf: an edge's packets to and from control planes vanish; worker:
SIGKILL of an edge's DNS worker."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """From `at` on for `lasts` seconds after the start of a run."""

    at: float
    lasts: float
    target: str
    kind: str

    @property
    def end(self) -> float:
        """When it is undone."""
        return self.at + self.lasts


def group(target: str) -> str:
    """What sort of thing a target is: `edge` of `edge-2`."""
    return target.partition("-")[0]


def schedule(seed: int, targets: Sequence[str], seconds: float) -> list[Fault]:
    """All faults of a run, ordered by their start; whole periods only, and one at least."""
    rng = random.Random(seed)
    faults: list[Fault] = []
    for number in range(max(1, int(seconds // PERIOD_S))):
        for fault in _period(rng, targets, number * PERIOD_S):
            if _allowed(fault, faults):
                faults.append(fault)
    return sorted(faults)


def _period(rng: random.Random, targets: Sequence[str], start: float) -> Iterator[Fault]:
    relays = [each for each in targets if group(each) == "relay"]
    for relay in rng.sample(relays, len(relays)):  # the first that has rested is taken
        at = rng.uniform(STORM_S - 4.0, STORM_S)
        end = PERIOD_S - rng.uniform(1.0, 3.0)
        yield Fault(start + at, end - at, relay, rng.choice(KINDS["relay"]))
    groups = sorted({group(each) for each in targets})
    for _ in range(rng.randint(*FAULTS_A_STORM)):
        kind_of_target = rng.choice(groups)
        target = rng.choice([each for each in targets if group(each) == kind_of_target])
        kind = rng.choice(KINDS[kind_of_target])
        at = rng.uniform(0.0, STORM_S - SHORTEST_S)
        lasts = 0.0 if kind == "worker" else rng.uniform(SHORTEST_S, STORM_S - at)
        yield Fault(start + at, lasts, target, kind)


def _allowed(fault: Fault, others: Sequence[Fault]) -> bool:
    """Whether a fault keeps apart from those that are certain already."""
    same = [each for each in others if each.target == fault.target]
    kind = group(fault.target)
    rest = {"relay": REST_S, "edge": EDGE_RETURNS_S}.get(kind, 0.5)
    if any(_overlap(fault, each, rest) for each in same):
        return False
    if kind == "relay" and fault.at % PERIOD_S >= STORM_S - 4.0:
        lulls = (each for each in others if group(each.target) == "relay")
        if any(each.end > fault.at - fault.at % PERIOD_S + STORM_S for each in lulls):
            return False
    limit = {"relay": RELAYS_AT_ONCE, "edge": EDGES_AT_ONCE}.get(kind)
    beside = [each for each in others if group(each.target) == kind]
    # Fewer than the limit overlap it, so never more than the limit are at once.
    return limit is None or sum(_overlap(fault, each, rest=6.0) for each in beside) < limit


def _overlap(one: Fault, other: Fault, rest: float) -> bool:
    return one.at < other.end + rest and other.at < one.end + rest
