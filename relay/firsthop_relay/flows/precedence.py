"""Which flow comes first: at a source, the one that carries its media; in want of a place, the one
that keeps it. Pure.

A relay cannot verify where a packet comes from, nor a check's password. So it relies on what a
transceiver answers: an answered check proves that its sender holds the ufrag's password, unless the
check was answered before (`AnsweredChecks`). Whoever spoofs a client's address can prove that for
ufrags of their own only, so a flow keeps its source's media while its own checks are answered.
"""

from __future__ import annotations

from collections.abc import Sequence

from firsthop_ice.ufrag import claims
from firsthop_relay.flows.flow import Flow
from firsthop_relay.flows.limits import ANSWERED_WITHIN_S, CHECKED_WITHIN_S, CONSENT_S
from firsthop_relay.flows.routes import RouteTable


def yields(holder: Flow, flow: Flow, routes: RouteTable, *, now: float) -> bool:
    """Whether the current flow of a source gives the source's media to `flow`, which was answered.

    It does if its session is over or has lost consent. If both ufrags name one transceiver, `flow`
    may be an ICE restart. If it is none, the holder's checks go on: the next one that is answered
    takes the media back, as the earlier flow wins, and from then on they stay where they are.
    """
    silent_s = now - holder.consented_at
    if holder.over or silent_s >= CONSENT_S:
        return True
    if not _same_transceiver(holder, flow, routes):
        return False
    return not holder.reclaimed or is_earlier(flow, holder) or silent_s > CHECKED_WITHIN_S


def is_earlier(flow: Flow, other: Flow) -> bool:
    """Whether `flow` was opened before `other`."""
    return flow.opened_at < other.opened_at


def replaceable(flows: Sequence[Flow], *, now: float) -> Flow | None:
    """The flow that gives its place to a new one of its source or ufrag; None: all keep theirs.

    First come unconfirmed flows, then those that never were current, then those whose client is
    late with its checks; of each kind the one whose last answer is the oldest.
    """
    spare = [each for each in flows if _is_late(each, now)]
    return min(
        spare, key=lambda each: (each.confirmed + each.carried, each.consented_at), default=None
    )


def _is_late(flow: Flow, now: float) -> bool:
    if flow.carried:
        return now - flow.consented_at > CHECKED_WITHIN_S
    return now - flow.opened_at > ANSWERED_WITHIN_S


def _same_transceiver(one: Flow, other: Flow, routes: RouteTable) -> bool:
    """Whether both ufrags name one transceiver, or were drawn to the address of one."""
    named = _named_transceiver(one.ufrag)
    if named is not None and named == _named_transceiver(other.ufrag):
        return True
    return one.upstream == other.upstream and routes.is_transceiver(one.upstream)


def _named_transceiver(ufrag: bytes) -> tuple[int, int] | None:
    """The wire ids of region and transceiver; None if the ufrag names no transceiver."""
    named = claims(ufrag)
    return (named.region, named.transceiver) if named and named.transceiver else None
