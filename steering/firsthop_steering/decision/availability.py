"""What a relay is good for now, and by whose word: the operator's, its agent's, a vantage's, all's.

The first of these that speaks is believed; of a transceiver there is only its own word. Knows one
at a time, and no probes: verdicts are in the status already.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Literal, NamedTuple

from firsthop_steering.decision.topology import Endpoint
from firsthop_steering.feed.snapshot import RelayStatus, Status, VantageVerdict
from firsthop_steering.health.families import together
from firsthop_steering.plan.model import Family, Liveness, Relay

AvailabilitySource = Literal["operator", "agent", "local", "global"]
FAMILIES: tuple[Family, ...] = ("ipv4", "ipv6")


class Availability(NamedTuple):
    """One relay as answers see it."""

    source: AvailabilitySource
    verdict: Liveness
    """Of both addresses together."""
    families: Mapping[Family, Liveness]
    """Of each address where they are told apart."""
    accepts_sessions: bool
    """Whether it takes new sessions at all."""
    share: int
    """Per cent of its weight."""
    since: datetime | None
    """Since when this word stands."""

    def answers(self, family: Family) -> bool:
        """Whether its address of this family may be answered with; `unknown` is never `down`."""
        return self.accepts_sessions and self.families.get(family, self.verdict) != "down"


TARGET_UTILISATION = 0.85
"""What the planner fills a region to: the rest is for noise, for the time until the next plan, and
for the loss of a region."""
EXPLORED_BELOW = TARGET_UTILISATION
"""Used share of its capacity up to which nobody is sent to a relay just to learn of it."""
_UNKNOWN = RelayStatus()


def reported_status(endpoint: Endpoint, status: Status) -> RelayStatus:
    """What a status says of `endpoint`: relays and transceivers have ids of their own."""
    known = status.relays if endpoint.probe is not None else status.transceivers
    return known.get(endpoint.id, _UNKNOWN)


def unavailable_transceivers(status: Status) -> frozenset[str]:
    """The transceivers that no new session is to be sent to, by their own word or silence."""
    return frozenset(
        name
        for name, each in status.transceivers.items()
        if each.verdict == "down" or not _accepts_sessions(each)
    )


def _accepts_sessions(status: RelayStatus) -> bool:
    return not status.draining and status.stops_at is None


def availability_of(
    endpoint: Endpoint,
    status: RelayStatus,
    *,
    vantage: str | None,
    now: datetime,
    distrusted: Collection[Family] = (),
) -> Availability:
    """The standing of `endpoint`; `vantage` is whose word goes before that of all, if any's.

    Of the families in `distrusted` that vantage is not believed.
    """
    forced = endpoint.forced
    if forced is not None and forced.active(now):
        up = forced.verdict == "up"
        return Availability("operator", forced.verdict, {}, up, 100, None)
    if status.crashed:
        return Availability("agent", "down", {}, False, status.share, status.reported_at)
    accepts_sessions = _accepts_sessions(status)
    if endpoint.probe is None and status.verdict != "unknown":
        return Availability(
            "agent", status.verdict, {}, accepts_sessions, status.share, status.since
        )
    view = status.vantages.get(vantage) if vantage is not None else None
    known = _known_of(view, distrusted) if view is not None else {}
    if view is None or not known:
        return Availability(
            "global", status.verdict, status.families, accepts_sessions, status.share, status.since
        )
    families = {**status.families, **known} if view.families or distrusted else {}
    verdict = together(families.values()) if families else view.verdict
    return Availability("local", verdict, families, accepts_sessions, status.share, view.since)


def _known_of(view: VantageVerdict, distrusted: Collection[Family]) -> dict[Family, Liveness]:
    """What a vantage knows, address by address: where it knows nothing all the others are asked."""
    families = view.families or dict.fromkeys(FAMILIES, view.verdict)
    return {
        family: verdict
        for family, verdict in families.items()
        if verdict != "unknown" and family not in distrusted
    }


def may_be_explored(relay: Relay, status: RelayStatus) -> bool:
    """Whether clients may be sent to it just to learn of it: not one that is down, drains, starts
    slowly, or is as full as it ought to be. Where no load is told, it is not known to have any."""
    load = status.load
    if load is None and status.sessions is not None and relay.capacity:
        load = status.sessions / relay.capacity
    leaves = status.draining or status.crashed or status.stops_at is not None
    well = status.verdict != "down" and status.share == 100 and not leaves
    return well and (load is None or load < EXPLORED_BELOW)
