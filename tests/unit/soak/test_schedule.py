"""The schedule of a soak is a function of its seed, and keeps what the rules of a soak rest on."""

from __future__ import annotations

import itertools

import pytest

from soak.schedule import (
    EDGE_RETURNS_S,
    LULL_S,
    PERIOD_S,
    REST_S,
    STORM_S,
    Fault,
    group,
    schedule,
)
from soak.truth import BUDGET_S

TARGETS = [
    "database",
    *(f"controlplane-{n}" for n in (1, 2)),
    *(f"edge-{n}" for n in (1, 2, 3)),
    *(f"vantage-{n}" for n in "abc"),
    *(f"{kind}-r{n}" for kind in ("relay", "agent") for n in range(7)),
]
SEEDS = range(100)


def overlapping(faults: list[Fault], rest: float = 0.0) -> list[tuple[Fault, Fault]]:
    return [
        (a, b)
        for a, b in itertools.combinations(faults, 2)
        if a.at < b.end + rest and b.at < a.end + rest
    ]


def test_a_seed_is_a_schedule() -> None:
    """The same seed gives the same faults; others give others."""
    assert schedule(7, TARGETS, 300) == schedule(7, TARGETS, 300)
    assert len({tuple(schedule(seed, TARGETS, 30)) for seed in SEEDS}) == len(SEEDS)


def test_everything_fails_in_every_way_sooner_or_later() -> None:
    """No target and no kind of fault is left out."""
    faults = [fault for seed in SEEDS for fault in schedule(seed, TARGETS, 300)]
    assert {each.target for each in faults} == set(TARGETS)
    kinds = {(group(each.target), each.kind) for each in faults}
    assert len(kinds) == 3 + 3 + 5 + 3 + 3 + 2


@pytest.mark.parametrize("seconds", [1.0, 30.0, 300.0])
def test_it_lasts_as_long_as_asked_for(seconds: float) -> None:
    """Whole periods, one at least, and the last fault ends within."""
    for seed in SEEDS:
        faults = schedule(seed, TARGETS, seconds)
        assert faults == sorted(faults)
        assert faults[0].at >= 0
        assert max(each.end for each in faults) <= max(PERIOD_S, seconds)


def test_an_edge_is_always_alive() -> None:
    """Of three edges never all are gone, or have just come back, at once."""
    for seed in SEEDS:
        edges = [each for each in schedule(seed, TARGETS, 300) if group(each.target) == "edge"]
        for fault in edges:
            gone = {
                each.target
                for each in edges
                if each.at <= fault.at < each.end + EDGE_RETURNS_S or each is fault
            }
            assert len(gone) < 3, (seed, fault)


def test_no_target_has_two_faults_at_once_and_relays_rest() -> None:
    """A fault is undone before the next; a relay is never damped."""
    for seed in SEEDS:
        faults = schedule(seed, TARGETS, 300)
        assert not [(a, b) for a, b in overlapping(faults) if a.target == b.target]
        relays = [each for each in faults if group(each.target) == "relay"]
        assert not [(a, b) for a, b in overlapping(relays, REST_S) if a.target == b.target]


def test_every_lull_has_a_dead_relay_and_no_other_fault() -> None:
    """There is time in which an answer with it is wrong beyond doubt."""
    judged = 0
    for seed in SEEDS:
        faults = schedule(seed, TARGETS, 300)
        for number in range(10):
            lull = number * PERIOD_S + STORM_S
            within = [f for f in faults if f.at < lull + LULL_S and f.end > lull]
            assert all(group(each.target) == "relay" for each in within)
            assert len(within) <= 1
            judged += any(f.end - lull > BUDGET_S for f in within)
    assert judged > 0.9 * 10 * len(SEEDS)
