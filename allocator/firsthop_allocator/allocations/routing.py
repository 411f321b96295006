"""Where a session goes: the relays that a client is offered, and the transceiver region.

Regions are chosen by `firsthop_steering.decision.decide`, exactly as for DNS; this module turns two
of its decisions into a `SessionRoute`. Pure.

Fallback addresses of a service are for DNS: they have no port and do not route by ufrag, so here
`when_all_down: fallback` is treated as `closed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from firsthop_allocator.allocations.answer_json import decision_members, dump, relays_text
from firsthop_allocator.allocations.exploring import Pick, explored
from firsthop_allocator.allocations.route import AllocationRefused, Offer, SessionRoute
from firsthop_allocator.allocations.state import AllocatorState
from firsthop_steering.decision.model import Candidate, Decision
from firsthop_steering.decision.topology import Client
from firsthop_steering.plan.model import Relay, Service

MAX_TURN_SERVERS = 2
"""Maximum number of TURN servers in an answer; with five or more, browsers warn of delays."""
MAX_RELAYS = 3
"""Maximum number of relays in an answer, beside those to explore; clients check all at once."""

_NONE: frozenset[str] = frozenset()


def steered_service(state: AllocatorState, wanted: str | None) -> Service | AllocationRefused:
    """The service with the id or name `wanted`, or the default one if that is None; its pool must
    be relays."""
    if wanted is None:
        return state.tables.default_service or AllocationRefused(
            "no_relay", None, "the plan has no service whose pool is relays"
        )
    service = state.steering.topology.service(wanted)
    if service is None:
        return AllocationRefused("unknown_service", "service", "names no service")
    if service.pool != "relays":
        rule = f"the pool of {service.id} is {service.pool}; allocations need one of relays"
        return AllocationRefused("unknown_service", "service", rule)
    return service


def find_route(
    state: AllocatorState,
    service: Service,
    client: Client,
    *,
    pinned: str | None = None,
    excluded: frozenset[str] = _NONE,
    chance: bytes | None = None,
) -> SessionRoute | AllocationRefused:
    """The route of `client`; `pinned` names a transceiver region, `excluded` relays.

    `chance` is CHANCE_LENGTH random octets, or None. With them, a few clients also get relays to
    explore, at the end of the list.
    """
    decisions = decide_relays(state, service, client)
    decision = decisions[0]
    if decision.chosen is None:
        return AllocationRefused("no_relay", None, f"service {service.id}: {decision.reason}")
    picks = _pick(state, decisions, excluded)
    turn = _pick(state, decisions, excluded, turn=True) if state.tables.turn_servers else []
    if not picks and not turn:
        return _nothing_to_offer(service, excluded)
    entry = state.tables.region_index[(picks or turn)[0][0].relay.region]
    media = _media_region(state.steering.decide_media(service, client, entry), pinned)
    if isinstance(media, AllocationRefused):
        return media
    extra: tuple[Pick, ...] = ()
    if chance is not None and picks:
        extra = explored(state, decision, {each.relay.region for each, _ in picks}, chance)
    reason = _reason(decision, picks or turn)
    # Within one state the key determines the route: the round trips follow from service, column
    # and relays, and a column has one cell.
    named = (name for (name, _), _ in (*picks, *extra, *turn))
    key = (service.id, decision.column, media, reason, len(picks), len(extra), *named)
    route = state.kept_route(key)
    if route is None:
        made = _route(state, decision, (picks, extra, turn), media, reason)
        if isinstance(made, AllocationRefused):
            return made
        route = made
        state.keep_route(key, route)
    return route


def find_relays(
    state: AllocatorState, service: Service, client: Client, *, excluded: frozenset[str] = _NONE
) -> tuple[Relay, ...] | AllocationRefused:
    """The relays of `client`, for a session that already has a transceiver."""
    decisions = decide_relays(state, service, client)
    if decisions[0].chosen is None:
        reason = decisions[0].reason
        return AllocationRefused("no_relay", None, f"service {service.id}: {reason}")
    picks = _pick(state, decisions, excluded)
    if not picks and not state.tables.turn_servers:
        return _nothing_to_offer(service, excluded)
    return tuple(each.relay for each, _ in picks)


def media_regions(
    state: AllocatorState, service: Service, client: Client, route: SessionRoute
) -> tuple[str, ...]:
    """Ids of the transceiver regions that may take a session of `route`, the chosen one first."""
    entry = state.tables.region_index[route.entry]
    decision = state.steering.decide_media(service, client, entry)
    preferences, chosen = decision.preferences, decision.chosen or 0
    return tuple(each.site.id for each in (*preferences[chosen:], *preferences[:chosen]))


def decide_relays(state: AllocatorState, service: Service, client: Client) -> tuple[Decision, ...]:
    """The decisions that order the relays for `client`, the first one first.

    If the service steers families separately and its regions differ, the first is that of the
    family of the client's address, in which the client certainly has connectivity; the second is
    that of both families together.
    """
    whole = state.steering
    mine = whole.of(service, client.address_family)
    if mine is whole:
        return (whole.decide(service, client),)
    decisions = (mine.decide(service, client), whole.decide(service, client))
    return decisions if decisions[0].chosen is not None else decisions[1:]


def _pick(
    state: AllocatorState,
    decisions: Sequence[Decision],
    excluded: frozenset[str],
    *,
    turn: bool = False,
) -> list[Pick]:
    """The first relays in the order of `decisions`; with `turn`, TURN servers instead of relays.

    Of two decisions the first orders the relays with an address of the client's family, and the
    second those that are left.
    """
    picks: list[Pick] = []
    taken = set(excluded)
    for nth, decision in enumerate(decisions):
        family = decision.client.address_family if nth < len(decisions) - 1 else None
        for each, candidate in _ordered(state, decision, turn=turn):
            if each.relay.id in taken or (family and getattr(each.relay, family) is None):
                continue
            taken.add(each.relay.id)
            picks.append((each, candidate))
            if len(picks) == (MAX_TURN_SERVERS if turn else MAX_RELAYS):
                return picks
    return picks


def _ordered(state: AllocatorState, decision: Decision, *, turn: bool) -> Iterator[Pick]:
    """The relays of the chosen region, then of the regions that the client would ask next.

    Regions that precede the chosen one in preference order come last: the client's bucket lies
    outside their weight.
    """
    preferences, chosen = decision.preferences, decision.chosen
    ignore_health = decision.ranking.outcome == "open"
    for candidate in (*preferences[chosen:], *preferences[:chosen]) if chosen else preferences:
        for each in state.relays_at(
            decision.service,
            candidate.site.id,
            decision.bucket,
            ignore_health=ignore_health,
            turn=turn,
        ):
            yield each, candidate


def _reason(decision: Decision, picks: list[Pick]) -> str:
    """Why these relays are offered; `exclude_relays` may rule out the whole chosen region."""
    assert decision.site is not None
    if picks[0][1].site is decision.site:
        return decision.reason
    return f"{decision.reason}; no relay of {decision.site.id} is left for this request"


def _route(
    state: AllocatorState,
    decision: Decision,
    chosen: tuple[list[Pick], tuple[Pick, ...], list[Pick]],
    media: str,
    reason: str,
) -> SessionRoute | AllocationRefused:
    """`chosen` are the relays, those to explore, and the TURN servers."""
    picks, extra, turn = chosen
    picks = [*picks, *extra]
    tables, cell = state.tables, decision.client.cell
    wire_id = tables.wire_ids[media]
    if wire_id is None:
        rule = f"transceiver region {media} has no wire id in plan {decision.plan}"
        return AllocationRefused("no_wire_id", None, rule)
    availabilities = state.steering.candidates_up(decision.service, "relays").availabilities
    offers = tuple(
        Offer(
            each.relay,
            candidate.rtt_ms,
            None if cell is None else tables.distance_km(candidate.site.id, cell),
            availabilities[each.relay.id],
        )
        for each, candidate in picks
    )
    text = tables.session_text(tuple(name for (name, _), _ in picks))
    regions = tuple(each.relay.region for each, _ in extra)
    note = decision_members(decision.plan, decision.status, reason) | {"explored": regions}
    return SessionRoute(
        service=decision.service.id,
        offers=offers,
        transceiver_region=media,
        wire_id=wire_id,
        location=tables.location(cell),
        reason=reason,
        explored=regions,
        text=text,
        relays=f'"relays":{relays_text(text, offers)},"transceiver_region":"{media}"'.encode(),
        decision=f'"decision":{dump(note)}'.encode(),
        entry=(picks or turn)[0][0].relay.region,
        turn_urls=_turn_urls(each.relay for each, _ in turn),
    )


def _turn_urls(servers: Iterable[Relay]) -> bytes:
    """The URLs of `servers` (RFC 7065) as a JSON array, UDP before TCP; empty if there are none."""
    found = list(servers)
    transports = [("udp", each.udp_port, each) for each in found]
    transports += [("tcp", each.tcp_port, each) for each in found if each.tcp_port]
    urls = [
        f"turn:{host}:{port}?transport={protocol}"
        for protocol, port, each in transports
        for host in (each.ipv6 and f"[{each.ipv6}]", each.ipv4)
        if host
    ]
    return dump(urls).encode() if urls else b""


def _nothing_to_offer(service: Service, excluded: frozenset[str]) -> AllocationRefused:
    if excluded:
        rule = f"rules out every relay that service {service.id} could offer now"
        return AllocationRefused("all_excluded", "exclude_relays", rule)
    return AllocationRefused("no_relay", None, f"service {service.id}: no relay routes by ufrag")


def _media_region(decision: Decision, pinned: str | None) -> str | AllocationRefused:
    """The id of the transceiver region that takes the session."""
    if pinned is not None:
        candidate = _candidate(decision, pinned)
        if candidate is None:
            return AllocationRefused(
                "pin_refused", "transceiver_region", "names no transceiver region"
            )
        if candidate.ineligible_reason:
            rule = f"{pinned} takes no sessions: {candidate.ineligible_reason}"
            return AllocationRefused("pin_refused", "transceiver_region", rule)
        return pinned
    if decision.site is None:
        return AllocationRefused(
            "no_transceiver_region", None, "no transceiver region takes sessions now"
        )
    return decision.site.id


def _candidate(decision: Decision, region: str) -> Candidate | None:
    return next((each for each in decision.ranking.candidates if each.site.id == region), None)
