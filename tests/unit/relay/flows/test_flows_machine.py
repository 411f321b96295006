"""Random lives of a flow table beside a model that knows only who was answered when."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from firsthop_ice.ufrag import Credential
from firsthop_relay.flows.drops import Drop
from firsthop_relay.flows.flow import ClientSockaddr, Closed, Confirmed, Flow, Held
from firsthop_relay.flows.limits import (
    ADDRESSES_PER_UFRAG,
    ANSWERED_WITHIN_S,
    CHECKED_WITHIN_S,
    CONSENT_S,
    FLOWS_PER_SOURCE,
    UNCONFIRMED_PACKETS,
    UNCONFIRMED_S,
    Limits,
)
from support.relay_world import DTLS, RTP, WALL, Relay, check, credential, success

SOURCES: list[ClientSockaddr] = [
    ("198.51.100.1", 1),
    ("198.51.100.1", 2),
    ("198.51.100.2", 1),
    ("203.0.113.1", 1),
    ("2001:db8::1", 1, 0, 0),
    ("2001:db8:0:1::1", 1, 0, 0),
]
LIMITS = Limits(flows=8, unconfirmed=5, flows_per_prefix=4, idle_s=30, lifetime_s=300)
sources = st.sampled_from(SOURCES)
REFUSALS = {Drop.SOURCE_FULL, Drop.UFRAG_FULL, Drop.PREFIX_FULL, Drop.UNCONFIRMED_FULL, Drop.FULL}


class Lives(RuleBasedStateMachine):
    """The model: `current` says whose media each source's packets are."""

    credentials = Bundle("credentials")
    answers = Bundle("answers")

    @initialize()
    def start(self) -> None:
        self.relay = Relay(limits=LIMITS)
        self.current: dict[ClientSockaddr, Flow] = {}
        self.alive: dict[Flow, None] = {}  # in the order of their birth, the same in every run
        self.confirmed: set[Flow] = set()
        self.heard: dict[Flow, float] = {}
        """When its client was last heard."""
        self.answered: dict[Flow, float] = {}
        """When a check of it was last answered."""
        self.carried: set[Flow] = set()

    @rule(target=credentials, transceiver=st.integers(0, 2), lifetime=st.sampled_from([20, 3600]))
    def mint(self, transceiver: int, lifetime: int) -> Credential:
        elapsed = self.relay.now - 1000
        return credential(transceiver=transceiver, lifetime=elapsed + lifetime)

    @rule(target=answers, minted=credentials, source=sources)
    def check(self, minted: Credential, source: ClientSockaddr) -> object:
        packet = check(minted.ufrag)
        before = self.relay.listener.flows.get(source, [])
        known = [flow for flow in before if flow.ufrag == minted.ufrag.encode()]
        lives = any(
            flow.ufrag == minted.ufrag.encode() and self.relay.now - self.answered[flow] < CONSENT_S
            for flow in self.confirmed
        )
        outcome = self.relay.receive(packet, source)
        if isinstance(outcome, Flow):
            assert outcome.source == source
            assert outcome.ufrag == minted.ufrag.encode()
            if not known:
                assert lives or self.relay.wall < minted.expires_at, "expired ones open nothing"
                assert not self.relay.table.draining or outcome.ufrag in {
                    flow.ufrag for flow in self.confirmed
                }
            self.alive[outcome] = None
            self.heard[outcome] = self.relay.now
            return (outcome, success(packet))
        if known:
            assert outcome is Drop.UNCONFIRMED
            assert known[0].taken == UNCONFIRMED_PACKETS
        elif self.relay.wall >= minted.expires_at and not lives:
            assert outcome is Drop.UFRAG_EXPIRED
        else:
            allowed = REFUSALS | ({Drop.DRAINING} if self.relay.table.draining else set())
            assert outcome in allowed
        return multiple()

    @rule(answered=consumes(answers))
    def answer(self, answered: tuple[Flow, bytes]) -> None:
        """The upstream's success; it may come when the flow has long ended."""
        flow, packet = answered
        if flow.closed:
            return
        holder = self.current.get(flow.source)
        assert self.relay.returned(flow, packet) is None
        assert flow.confirmed, "each check is answered once, and by its own flow"
        self.confirmed.add(flow)
        self.answered[flow] = self.relay.now
        if flow.current:
            assert self.may_replace(holder, flow)
            self.current[flow.source] = flow
            self.carried.add(flow)

    def may_replace(self, holder: Flow | None, flow: Flow) -> bool:
        """An empty or a silent source; or another ufrag of the same transceiver."""
        silent = holder is None or self.relay.now - self.answered[holder] >= CONSENT_S
        return silent or holder is flow or holder.upstream == flow.upstream

    @rule(source=sources, packet=st.sampled_from([RTP, DTLS]))
    def media(self, source: ClientSockaddr, packet: bytes) -> None:
        outcome = self.relay.receive(packet, source)
        if source in self.current:
            assert outcome is self.current[source]
            self.heard[self.current[source]] = self.relay.now
        else:
            assert outcome in (Drop.NOT_A_CHECK, Drop.UNCONFIRMED)
            flows = self.relay.listener.flows.get(source)
            assert (outcome is Drop.UNCONFIRMED) == (flows is not None)

    @rule(junk=st.binary(max_size=60), source=sources)
    def junk(self, junk: bytes, source: ClientSockaddr) -> None:
        outcome = self.relay.receive(junk, source)
        if isinstance(outcome, Flow):
            assert outcome is self.current.get(source) or junk[:1] < b"\4"
            self.heard[outcome] = self.relay.now

    @rule(draining=st.booleans())
    def drain(self, draining: bool) -> None:
        self.relay.table.draining = draining

    @rule(seconds=st.sampled_from([0.5, 3, 10, 40]))
    def time(self, seconds: float) -> None:
        self.relay.advance(seconds)

    @rule(data=st.data())
    def shell_closes(self, data: st.DataObject) -> None:
        if self.alive:
            flow = data.draw(st.sampled_from([*self.alive]))
            self.relay.table.close(flow, "socket")

    @invariant()
    def everything_holds(self) -> None:
        self.events_tell_all()
        self.nobody_outstays()
        self.caps_hold_and_counts_add_up()

    def events_tell_all(self) -> None:
        for event in self.relay.events():
            flow = event.flow  # type: ignore[attr-defined]
            if isinstance(event, Closed):
                self._ended(flow, event.reason)
            else:
                assert isinstance(event, Confirmed | Held)
        assert self.alive.keys() == {
            flow for each in self.relay.listener.flows.values() for flow in each
        }

    def _ended(self, flow: Flow, reason: str) -> None:
        now = self.relay.now
        if reason == "unconfirmed":
            assert flow not in self.confirmed
            assert now - flow.opened_at >= UNCONFIRMED_S
        if reason == "idle":
            assert now - self.heard[flow] >= LIMITS.idle_s
        if reason == "lifetime":
            assert now - flow.opened_at >= LIMITS.lifetime_s
        if reason == "replaced" and flow in self.carried:
            assert now - self.answered[flow] > CHECKED_WITHIN_S
        elif reason == "replaced":
            assert now - flow.opened_at > ANSWERED_WITHIN_S
        self.alive.pop(flow, None)
        self.confirmed.discard(flow)
        if self.current.get(flow.source) is flow:
            del self.current[flow.source]

    def nobody_outstays(self) -> None:
        """An idle flow is seen within a look of its time, an unconfirmed one at once."""
        now = self.relay.now
        for flow in self.alive:
            if flow not in self.confirmed:
                assert now - flow.opened_at < UNCONFIRMED_S
            else:
                assert now - self.heard[flow] < LIMITS.idle_s * 1.75

    def caps_hold_and_counts_add_up(self) -> None:
        table, listener = self.relay.table, self.relay.listener
        assert listener.current == self.current
        assert table.flow_counts.total == len(self.alive) <= LIMITS.flows
        unconfirmed = self.alive.keys() - self.confirmed
        assert table.flow_counts.unconfirmed == len(unconfirmed) <= LIMITS.unconfirmed
        assert table.sessions == len({flow.ufrag for flow in self.confirmed})
        by_ufrag: dict[bytes, int] = {}
        for flow in self.alive:
            by_ufrag[flow.ufrag] = by_ufrag.get(flow.ufrag, 0) + 1
        assert max(by_ufrag.values(), default=0) <= ADDRESSES_PER_UFRAG
        assert max(map(len, listener.flows.values()), default=0) <= FLOWS_PER_SOURCE
        assert sum(table.flow_counts._by_prefix.values()) == len(self.alive)
        assert max(table.flow_counts._by_prefix.values(), default=0) <= LIMITS.flows_per_prefix
        assert self.relay.wall >= WALL


TestLives = Lives.TestCase
TestLives.settings = settings(deadline=None, max_examples=60, stateful_step_count=60)
