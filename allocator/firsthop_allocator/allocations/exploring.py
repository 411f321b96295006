"""Exploration: relays that a client is offered only to measure them. Pure.

The leader decides which regions are worth measuring, as exploration targets
(`firsthop_steering.feed.exploration_targets`). This module decides whether such a region may be
explored now, and limits how many allocations explore.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from struct import Struct
from typing import Final

import numpy as np

from firsthop_allocator.allocations.state import AllocatorState, ReachableRelay
from firsthop_steering.decision.availability import may_be_explored
from firsthop_steering.decision.model import Candidate, Decision
from firsthop_steering.feed.demand import prefix_text
from firsthop_steering.feed.exploration_targets import ExplorationTarget, location_key
from firsthop_steering.feed.snapshot import RelayStatus
from firsthop_steering.rtt.exploration import CANDIDATES, MAX_GROUP_SHARE, choose
from firsthop_steering.rtt.samples import prefix_of

MAX_SAVED: Final = 10.0
"""Maximum number of allocations that may explore in a row, after a long time without any."""
_DRAWS = Struct(f">{1 + CANDIDATES}I")
CHANCE_LENGTH: Final = _DRAWS.size
"""Random octets of one allocation, which decide whether it explores, and which regions."""
_UNKNOWN = RelayStatus()

Pick = tuple[ReachableRelay, Candidate]


class Allowance:
    """How many allocations of one process may still explore, so that no more than the given share
    of all does. Sessions that are being opened at the same time may exceed it."""

    def __init__(self) -> None:
        self._saved = 0.0

    @property
    def is_left(self) -> bool:
        """Whether the next allocation may explore."""
        return self._saved >= 1

    def count(self, share: float, *, explores: bool) -> None:
        """Count one more allocation: it adds `share`, and uses up 1 if it explores."""
        self._saved = min(self._saved + share, MAX_SAVED) - explores if share else 0.0


def target_of(state: AllocatorState, decision: Decision) -> ExplorationTarget | None:
    """The exploration target for the client of `decision`; None if it has none, if an override
    applies to it, or if its region was not chosen by steering."""
    latency, client = state.steering.rtt.latency, decision.client
    if latency is None or not latency.explore.share:
        return None
    if decision.ranking.rule is not None or decision.ranking.outcome != "steered":
        return None
    if (
        decision.column > state.steering.rtt.unlocated
    ):  # a column of learned prefixes, not of a cell
        return latency.explore.prefixes.get(prefix_text(prefix_of(client.family, client.key)))
    if client.cell is None:
        return None
    geo = state.steering.topology.geo
    name = location_key(float(geo.latitudes[client.cell]), float(geo.longitudes[client.cell]))
    return latency.explore.places.get(name)


def explored(
    state: AllocatorState, decision: Decision, held: Container[str], chance: bytes
) -> tuple[Pick, ...]:
    """One relay for each region that this client explores besides those in `held`; mostly none.

    `chance` is CHANCE_LENGTH random octets.
    """
    whether, *draws = (each / 2**32 for each in _DRAWS.unpack(chance))
    if whether >= MAX_GROUP_SHARE:
        return ()
    target = target_of(state, decision)
    if target is None or whether >= target.rate:
        return ()
    return drawn(state, decision, target, held, draws)


def drawn(
    state: AllocatorState,
    decision: Decision,
    target: ExplorationTarget,
    held: Container[str],
    draws: list[float],
) -> tuple[Pick, ...]:
    """Relays of regions of `target` that may be explored now, drawn by gain: one for each of
    `draws`, which are in [0, 1), or fewer if there are fewer such regions."""
    may = [
        (target.gain_ms[candidate.site.id], (relay, candidate))
        for relay, candidate in _open(state, decision)
        if candidate.site.id in target.gain_ms and candidate.site.id not in held
    ]
    if not may:
        return ()
    gains = np.array([[gain for gain, _ in may]])
    chosen = choose(gains, np.array([draws]))[0].tolist()
    return tuple(may[each][1] for each in chosen if each >= 0)


def _open(state: AllocatorState, decision: Decision) -> Iterator[Pick]:
    """For each region without a price, its first relay that may be explored now."""
    statuses = state.steering.status.relays
    availabilities = state.steering.candidates_up(decision.service, "relays").availabilities
    for candidate in decision.preferences:
        if candidate.price_us:
            continue
        for each in state.relays_at(
            decision.service, candidate.site.id, decision.bucket, ignore_health=False
        ):
            relay = each.relay
            now = availabilities[relay.id]
            whole = now.share == 100 and now.verdict != "down"
            if whole and may_be_explored(relay, statuses.get(relay.id, _UNKNOWN)):
                yield each, candidate
                break
