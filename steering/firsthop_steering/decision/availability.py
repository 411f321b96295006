"""Effective health of a relay, and which source decided it.

Precedence: the operator's forced verdict, the relay's own agent, the local vantage, then the
verdict of all vantages. A transceiver is judged by its own reports alone. This module looks at one
endpoint at a time and reads verdicts from the status; it does not evaluate probes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Literal, NamedTuple

from firsthop_steering.decision.topology import Endpoint
from firsthop_steering.feed.snapshot import RelayStatus, Status, VantageVerdict
from firsthop_steering.health.families import combined_verdict
from firsthop_steering.plan.model import Family, Liveness, Relay

AvailabilitySource = Literal["operator", "agent", "local", "global"]
FAMILIES: tuple[Family, ...] = ("ipv4", "ipv6")


class Availability(NamedTuple):
    """Effective health of one relay or transceiver."""

    source: AvailabilitySource
    verdict: Liveness
    """The verdict on both address families combined."""
    families: Mapping[Family, Liveness]
    """The verdict on each family; empty if the source gives one verdict for the whole relay."""
    accepts_sessions: bool
    """False while it drains, is about to stop, has crashed, or is forced down."""
    share: int
    """Per cent of its weight in effect; below 100 during a slow start."""
    since: datetime | None
    """When this verdict began; None if unknown, or if the operator forced it."""

    def answers(self, family: Family) -> bool:
        """Whether answers may contain its address of this family; `unknown` counts as up."""
        return self.accepts_sessions and self.families.get(family, self.verdict) != "down"


TARGET_UTILISATION = 0.85
"""Share of its capacity to which the planner fills a region. The rest covers noise, the time until
the next plan, and the loss of another region."""
EXPLORED_BELOW = TARGET_UTILISATION
"""A relay is excluded from RTT exploration if its utilisation is this or higher."""
_UNKNOWN = RelayStatus()


def reported_status(endpoint: Endpoint, status: Status) -> RelayStatus:
    """The status entry of `endpoint`; relays and transceivers have separate id spaces."""
    known = status.relays if endpoint.probe is not None else status.transceivers
    return known.get(endpoint.id, _UNKNOWN)


def unavailable_transceivers(status: Status) -> frozenset[str]:
    """Ids of the transceivers that must not receive new sessions: draining, stopping or silent."""
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
    """The effective health of `endpoint`.

    The verdict of `vantage`, if there is one, takes precedence over that of all vantages, except
    for the families in `distrusted`, in which the vantage seems to be cut off.
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
    verdict = combined_verdict(families.values()) if families else view.verdict
    return Availability("local", verdict, families, accepts_sessions, status.share, view.since)


def _known_of(view: VantageVerdict, distrusted: Collection[Family]) -> dict[Family, Liveness]:
    """A vantage's verdict by family, without unknown and distrusted families."""
    families = view.families or dict.fromkeys(FAMILIES, view.verdict)
    return {
        family: verdict
        for family, verdict in families.items()
        if verdict != "unknown" and family not in distrusted
    }


def may_be_explored(relay: Relay, status: RelayStatus) -> bool:
    """Whether RTT exploration may send clients to this relay.

    A relay is excluded if it is down, draining or in a slow start, or if its utilisation is at
    least EXPLORED_BELOW. A relay that reports no load counts as empty.
    """
    load = status.load
    if load is None and status.sessions is not None and relay.capacity:
        load = status.sessions / relay.capacity
    leaves = status.draining or status.crashed or status.stops_at is not None
    well = status.verdict != "down" and status.share == 100 and not leaves
    return well and (load is None or load < EXPLORED_BELOW)
