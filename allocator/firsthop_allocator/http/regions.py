"""GET /v1/regions: all regions, ranked for one client by its decision. Pure."""

from __future__ import annotations

from typing import Any

from firsthop_allocator.allocations.answer_json import (
    client_members,
    decision_members,
    utc_text,
)
from firsthop_allocator.allocations.routing import decide_relays
from firsthop_allocator.allocations.state import AllocatorState
from firsthop_allocator.http.callers import RequestClient
from firsthop_steering.decision.model import Candidate, Decision
from firsthop_steering.decision.topology import Site
from firsthop_steering.feed.snapshot import RelayStatus
from firsthop_steering.plan.model import Service

_UNKNOWN = RelayStatus()


def rank_regions(state: AllocatorState, service: Service, subject: RequestClient) -> dict[str, Any]:
    """The answer, JSON-ready: eligible regions in preference order, then the others."""
    client = state.steering.topology.client(subject.address)
    decision = decide_relays(state, service, client)[0]
    location = state.tables.location(client.cell)
    out = [each for each in decision.ranking.candidates if each.ineligible_reason]
    return {
        "service": service.id,
        "client": client_members(subject.address, subject.source, location),
        "decision": decision_members(decision.plan, decision.status, decision.reason),
        "regions": [
            _region(state, decision, candidate, rank)
            for rank, candidate in enumerate((*decision.preferences, *out), start=1)
        ],
    }


def _region(
    state: AllocatorState, decision: Decision, candidate: Candidate, rank: int
) -> dict[str, Any]:
    site, cell = candidate.site, decision.client.cell
    ignore_health = decision.ranking.outcome == "open"
    return {
        "id": site.id,
        "rank": rank,
        "chosen": decision.site is site,
        "eligible": not candidate.ineligible_reason,
        "reason": decision.fate(candidate),
        "rtt_ms": candidate.rtt_ms,
        "rtt_source": candidate.rtt_source,
        "distance_km": None if cell is None else state.tables.distance_km(site.id, cell),
        "price_ms": candidate.price_us / 1000,
        "charged_ms": decision.charged_ms(candidate),
        "score_ms": decision.score_ms(candidate),
        "weight": candidate.weight,
        "relays": _relays(state, decision.service, site, ignore_health=ignore_health),
    }


def _relays(
    state: AllocatorState, service: Service, site: Site, *, ignore_health: bool
) -> list[dict[str, Any]]:
    steering, index = state.steering, state.tables.region_index[site.id]
    usable = {
        each.id: each
        for each in steering.usable(service, "relays", index, ignore_health=ignore_health)
    }
    availabilities = steering.candidates_up(service, "relays").availabilities
    states = []
    for endpoint in site.endpoints:
        relay = state.tables.relays.get(endpoint.id)
        if relay is not None:
            since = availabilities[relay.id].since
            measured = state.steering.status.relays.get(relay.id, _UNKNOWN)
            states.append(
                {
                    "id": relay.id,
                    "state": relay.state.value,
                    "verdict": availabilities[relay.id].verdict,
                    "by": availabilities[relay.id].source,
                    "since": since and utc_text(since),
                    "share": availabilities[relay.id].share,
                    "draining": measured.draining,
                    "answers": relay.id in usable,
                    "answers_ipv4": relay.id in usable and usable[relay.id].ipv4 is not None,
                    "answers_ipv6": relay.id in usable and usable[relay.id].ipv6 is not None,
                }
            )
    return states
