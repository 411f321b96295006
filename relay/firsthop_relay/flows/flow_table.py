"""The flow table: which upstream a client's packets belong to. Pure: time is an argument.

    unconfirmed ── success response to one of its checks ──▶ confirmed ── idle, lifetime ──▶ closed
         └──────── UNCONFIRMED_S ──▶ closed

A STUN check is routed by the ufrag in it, which is verified before any state is kept. All other
packets use the current flow of their source address (see `precedence`). The server (`io.server`)
opens a socket for a new flow that `receive` returns; `next_event` returns flows that were confirmed
or have ended.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

from firsthop_ice.answered_checks import AnsweredChecks
from firsthop_ice.relay_load import RelayLoad
from firsthop_ice.session_over import is_session_over
from firsthop_ice.stun import (
    HEADER_LENGTH,
    MAGIC_COOKIE,
    StunError,
    StunMessageType,
    parse,
    peek_username,
    split_username,
)
from firsthop_ice.ufrag import (
    LOAD_READER,
    PROBE_REGION,
    Decoded,
    RejectedUfrag,
    RouteKeys,
    decode,
    probe_password,
)
from firsthop_relay.flows.drops import Drop
from firsthop_relay.flows.flow import (
    ClientSockaddr,
    Closed,
    Confirmed,
    Ending,
    Flow,
    Held,
    ListenerFlows,
)
from firsthop_relay.flows.flow_limits import FlowCounts, prefix_of
from firsthop_relay.flows.limits import (
    ADDRESSES_PER_UFRAG,
    ANSWERED_CHECKS,
    CONSENT_S,
    FLOWS_PER_SOURCE,
    UNCONFIRMED_PACKETS,
    UNCONFIRMED_S,
    Limits,
)
from firsthop_relay.flows.precedence import is_earlier, replaceable, yields
from firsthop_relay.flows.responder import answer_probe
from firsthop_relay.flows.routes import RouteTable, SocketAddress

STUN_BELOW = 4  # RFC 7983 §7: a first byte of 0 to 3 is STUN
AT_ONCE = 512  # flows examined by one call of `handle_timer`
_SUCCESS = StunMessageType.SUCCESS.to_bytes(2, "big")
_COOKIE = MAGIC_COOKIE.to_bytes(4, "big")


class FlowTable:
    """All flows of one process.

    `keys`, `routes`, `draining` and `sessions_elsewhere` may be replaced at any time; existing
    flows go on.
    """

    def __init__(
        self, *, keys: RouteKeys | None = None, routes: RouteTable | None = None,
        limits: Limits | None = None,
    ) -> None:  # fmt: skip
        self.keys = keys
        self.routes = routes or RouteTable()
        self.limits = limits or Limits()
        self.draining = False
        """Whether sessions without a flow here are refused."""
        self.flow_counts = FlowCounts(self.limits)
        self.sessions = 0
        """Distinct ufrags with a confirmed flow."""
        self.sessions_elsewhere = 0
        """Sessions of the relay's other processes, as they last reported."""
        self._by_ufrag: dict[bytes, list[Flow]] = {}
        self._timers: list[tuple[float, int, Flow]] = []
        self._serial = count()
        self._events: deque[Confirmed | Held | Closed] = deque()

    # A packet from a client

    def receive(
        self,
        listener: ListenerFlows,
        packet: bytes,
        source: ClientSockaddr,
        *,
        now: float,
        wall: datetime,
    ) -> Flow | bytes | Drop:
        """The flow that forwards a packet, the answer to it, or why it is dropped. Never raises.

        `now` is in monotonic seconds; `wall` is wall time, to which expiries are compared. The
        server's hot path inlines the first two lines.
        """
        flow = listener.current.get(source)
        if flow is not None and packet and packet[0] >= STUN_BELOW:
            flow.taken += 1
            return flow
        username = peek_username(packet)
        if username is None:
            return self._by_address(listener, packet, source)
        ufrag, _ = split_username(username)
        for flow in listener.flows.get(source, ()):
            if flow.ufrag == ufrag:
                return self._checked(flow, packet)
        return self._first_check(listener, packet, source, ufrag, now, wall)

    def _by_address(
        self, listener: ListenerFlows, packet: bytes, source: ClientSockaddr
    ) -> Flow | Drop:
        """Handle a packet without USERNAME: other STUN, or from a source with no current flow."""
        flow = listener.current.get(source)
        if flow is not None:
            flow.taken += 1
            return flow
        flows = listener.flows.get(source)
        if flows is None:
            return Drop.NOT_A_CHECK
        if not _is_stun(packet):
            return Drop.UNCONFIRMED
        return self._checked(flows[-1], packet)

    def _checked(self, flow: Flow, packet: bytes) -> Flow | Drop:
        if not flow.confirmed and flow.taken >= UNCONFIRMED_PACKETS:
            return Drop.UNCONFIRMED
        flow.taken += 1
        flow.checks.append(packet[8:HEADER_LENGTH])
        return flow

    def _first_check(
        self,
        listener: ListenerFlows,
        packet: bytes,
        source: ClientSockaddr,
        ufrag: bytes,
        now: float,
        wall: datetime,
    ) -> Flow | bytes | Drop:
        """Check tag, message, route and limits before any state is kept."""
        if self.keys is None:
            return Drop.UFRAG_UNKNOWN_KEY
        decoded = decode(ufrag, self.keys, now=None if self._lives(ufrag, now) else wall)
        if isinstance(decoded, RejectedUfrag):
            return Drop("ufrag_" + decoded.reason)
        if decoded.region == PROBE_REGION:
            password = probe_password(ufrag, self.keys.by_id[decoded.key_id])
            load = self._load() if decoded.transceiver == LOAD_READER else None
            return answer_probe(packet, source[:2], password, load=load)
        fault = _ill_formed(packet)
        if fault is not None:
            return fault
        known = self._by_ufrag.get(ufrag, ())
        if known and packet[8:HEADER_LENGTH] in known[0].answered:
            return Drop.REPLAYED
        upstream = self._upstream(ufrag, decoded)
        if upstream is None:
            return Drop.NO_ROUTE
        if self.draining and not any(flow.confirmed for flow in known):
            return Drop.DRAINING
        flow = self._flow(listener, source, ufrag, upstream, now)
        refusal = self.flow_counts.refusal(flow.prefix) or self._make_place(flow, now)
        if refusal is not None:
            return refusal
        self._enter(flow, now + UNCONFIRMED_S)
        return self._checked(flow, packet)

    def _lives(self, ufrag: bytes, now: float) -> bool:
        """Whether its session has consent here: then it may move after its credential expired."""
        return any(
            flow.confirmed and not flow.over and now - flow.consented_at < CONSENT_S
            for flow in self._by_ufrag.get(ufrag, ())
        )

    def _flow(
        self,
        listener: ListenerFlows,
        source: ClientSockaddr,
        ufrag: bytes,
        upstream: SocketAddress,
        now: float,
    ) -> Flow:
        """A flow that has not been entered yet."""
        known = self._by_ufrag.get(ufrag)
        answered = known[0].answered if known else AnsweredChecks(ANSWERED_CHECKS)
        return Flow(listener, source, ufrag, upstream, now, prefix_of(source[0]), answered, now)

    def _make_place(self, flow: Flow, now: float) -> Drop | None:
        """End flows of its source and ufrag that must give their place to it; or why none can."""
        for flows, most, full in (
            (flow.listener.flows.get(flow.source, ()), FLOWS_PER_SOURCE, Drop.SOURCE_FULL),
            (self._by_ufrag.get(flow.ufrag, ()), ADDRESSES_PER_UFRAG, Drop.UFRAG_FULL),
        ):
            if len(flows) >= most:
                replaced = replaceable(flows, now=now)
                if replaced is None:
                    return full
                self.close(replaced, "replaced")
        return None

    def _load(self) -> RelayLoad:
        return RelayLoad(self.sessions + self.sessions_elsewhere, self.draining)

    def _upstream(self, ufrag: bytes, decoded: Decoded) -> SocketAddress | None:
        """The upstream that its session already has; otherwise the route table's."""
        for flow in self._by_ufrag.get(ufrag, ()):
            if flow.confirmed and flow.upstream in self.routes:
                return flow.upstream
        return self.routes.resolve(decoded.region, decoded.transceiver, ufrag)

    # A packet from an upstream

    def returned(self, flow: Flow, packet: bytes, *, now: float) -> Drop | None:
        """Why a packet from the flow's upstream is dropped; None: forward it to the client.

        The first success response to a check that the flow has forwarded confirms the flow, and
        makes it its source's current one if no other session has the source. The server's hot path
        calls this for current flows only if the packet is STUN.
        """
        if packet[:2] == _SUCCESS and packet[4:8] == _COOKIE and packet[8:20] in flow.checks:
            self._answered(flow, packet[8:20], now)
        elif is_session_over(packet):
            flow.over = True
        if flow.carried:
            return None
        if flow.confirmed:
            return None if _is_stun(packet) else Drop.OCCUPIED
        if flow.passed >= UNCONFIRMED_PACKETS or not _is_stun(packet):
            return Drop.UNCONFIRMED
        flow.passed += 1
        return None

    def _answered(self, flow: Flow, transaction_id: bytes, now: float) -> None:
        """Note that a check of the flow was answered; a second answer proves nothing."""
        if transaction_id in flow.answered:
            return
        flow.answered.add(transaction_id)
        flow.consented_at = now
        if flow.current:
            return
        again = flow.confirmed
        if not again:
            self._count_confirmed(flow)
            flow.quiet_since = now
        holder = flow.listener.current.get(flow.source)
        if holder is None or yields(holder, flow, self.routes, now=now):
            self._make_current(flow, holder)
            self._events.append(Confirmed(flow, again))
        elif not again:
            self._events.append(Held(flow))

    def _make_current(self, flow: Flow, holder: Flow | None) -> None:
        if holder is not None:
            holder.current = False
            flow.reclaimed |= is_earlier(flow, holder)
        flow.listener.current[flow.source] = flow
        flow.current = flow.carried = True

    def _count_confirmed(self, flow: Flow) -> None:
        self.flow_counts.confirmed()
        self.sessions += not any(each.confirmed for each in self._by_ufrag[flow.ufrag])
        flow.confirmed = True

    # Restoring and closing

    def restore(
        self,
        listener: ListenerFlows,
        source: ClientSockaddr,
        ufrag: bytes,
        upstream: SocketAddress,
        *,
        age_s: float,
        now: float,
    ) -> Flow | None:
        """Add a flow, `age_s` old, that another process confirmed; None if it is refused.

        Its upstream must be in the route table, its source must not have a current flow, and the
        limits must leave room.
        """
        if upstream not in self.routes or source in listener.current:
            return None
        flow = self._flow(listener, source, ufrag, upstream, now)
        flow.opened_at, flow.quiet_since = now - age_s, now
        if self.flow_counts.refusal(flow.prefix) or self._make_place(flow, now):
            return None
        self._enter(flow, now + self.limits.look_s)
        self._count_confirmed(flow)
        self._make_current(flow, None)
        return flow

    def close(self, flow: Flow, reason: Ending) -> None:
        """End a flow and queue the event; does nothing if it has ended."""
        if flow.closed:
            return
        flow.closed = True
        self.flow_counts.closed(flow.prefix, confirmed=flow.confirmed)
        _remove(flow.listener.flows, flow.source, flow)
        _remove(self._by_ufrag, flow.ufrag, flow)
        if flow.confirmed:
            left = self._by_ufrag.get(flow.ufrag, ())
            self.sessions -= not any(each.confirmed for each in left)
        if flow.current:
            flow.current = False
            del flow.listener.current[flow.source]
        self._events.append(Closed(flow, reason))
        if len(self._timers) > 2 * self.flow_counts.total + AT_ONCE:
            self._timers = [each for each in self._timers if not each[2].closed]
            heapify(self._timers)

    def _enter(self, flow: Flow, look_at: float) -> None:
        self.flow_counts.opened(flow.prefix)
        flow.listener.flows.setdefault(flow.source, []).append(flow)
        self._by_ufrag.setdefault(flow.ufrag, []).append(flow)
        heappush(self._timers, (look_at, next(self._serial), flow))

    # Time

    def get_timer(self) -> float | None:
        """When to call `handle_timer` next, on the clock of `now`."""
        return self._timers[0][0] if self._timers else None

    def handle_timer(self, *, now: float) -> list[Flow]:
        """End flows that have timed out; returns the confirmed ones that were recently active.

        It examines at most AT_ONCE flows; if more are due, `get_timer` returns a time in the past.
        """
        active = []
        for _ in range(AT_ONCE):
            if not self._timers or self._timers[0][0] > now:
                break
            _, _, flow = heappop(self._timers)
            if flow.closed:
                continue
            if flow.taken != flow.taken_before:
                flow.taken_before, flow.quiet_since = flow.taken, now
                active.append(flow)
            ending = self._ending(flow, now)
            if ending is None:
                heappush(self._timers, (now + self.limits.look_s, next(self._serial), flow))
            else:
                self.close(flow, ending)
        return [flow for flow in active if flow.confirmed and not flow.closed]

    def _ending(self, flow: Flow, now: float) -> Ending | None:
        if not flow.confirmed:
            return "unconfirmed"
        if now - flow.opened_at >= self.limits.lifetime_s:
            return "lifetime"
        return "idle" if now - flow.quiet_since >= self.limits.idle_s else None

    def next_event(self) -> Confirmed | Held | Closed | None:
        """The oldest event that has not been returned yet."""
        return self._events.popleft() if self._events else None


def _is_stun(packet: bytes) -> bool:
    return len(packet) >= HEADER_LENGTH and packet[0] < STUN_BELOW and packet[4:8] == _COOKIE


def _ill_formed(packet: bytes) -> Drop | None:
    """Why a check may not open a flow, if so; only its transceiver can verify the password."""
    try:
        request = parse(packet)
    except StunError:
        return Drop.MALFORMED
    if not request.fingerprinted:
        return Drop.NO_FINGERPRINT
    return Drop.INTEGRITY if request.integrity_at is None else None


def _remove(lists: dict[Any, list[Flow]], key: Any, flow: Flow) -> None:
    """Remove a flow from its list, and the list if it is then empty."""
    flows = lists[key]
    flows.remove(flow)
    if not flows:
        del lists[key]
