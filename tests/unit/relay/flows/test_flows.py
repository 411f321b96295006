"""The flow table: what opens a flow, what confirms it, what it passes, and when it ends."""

from __future__ import annotations

import pytest

from firsthop_ice.stun import StunMessageType, binding_error, build
from firsthop_relay.flows.drops import Drop
from firsthop_relay.flows.flow import Closed, Confirmed, Flow
from firsthop_relay.flows.limits import (
    ADDRESSES_PER_UFRAG,
    CONSENT_S,
    FLOWS_PER_SOURCE,
    UNCONFIRMED_PACKETS,
    UNCONFIRMED_S,
    Limits,
)
from firsthop_relay.flows.routes import RouteTable
from support.relay_world import (
    CLIENT,
    CLUSTER,
    DTLS,
    OTHER,
    RELAY,
    RTP,
    UPSTREAM,
    Relay,
    check,
    credential,
    session_over,
    success,
)

ELSEWHERE = ("198.51.100.8", 50000)


@pytest.fixture
def relay() -> Relay:
    return Relay()


def test_the_first_check_names_its_upstream(relay: Relay) -> None:
    """Region and transceiver are read from the ufrag, and from nothing else."""
    assert relay.open(credential(transceiver=1).ufrag)[0].upstream == UPSTREAM
    assert relay.open(credential(transceiver=2).ufrag, ELSEWHERE)[0].upstream == OTHER
    to_cluster = credential(CLUSTER, 321).ufrag
    assert relay.open(to_cluster, ("2001:db8::1", 9, 0, 0))[0].upstream == RELAY


def test_a_call_from_its_first_check_to_its_end(relay: Relay) -> None:
    ufrag = credential().ufrag
    flow, packet = relay.open(ufrag)
    assert not flow.confirmed
    assert relay.table.sessions == 0
    assert relay.returned(flow, success(packet)) is None
    assert relay.events() == [Confirmed(flow, again=False)]
    assert relay.table.sessions == 1
    for packet in (DTLS, RTP, check(ufrag), success(check(ufrag)), b""):
        assert relay.receive(packet) is flow
        assert relay.returned(flow, packet) is None
    relay.advance(600, talking=(flow,))
    assert relay.receive(RTP) is flow
    relay.advance(2 * relay.table.limits.idle_s)
    assert relay.events() == [Closed(flow, "idle")]
    assert relay.receive(RTP) is Drop.NOT_A_CHECK
    assert relay.table.sessions == 0
    assert relay.is_empty()


def test_an_unconfirmed_flow_passes_only_stun(relay: Relay) -> None:
    flow, _ = relay.open(credential().ufrag)
    for packet in (RTP, DTLS, b"", b"\0" * 19):
        assert relay.receive(packet) is Drop.UNCONFIRMED
        assert relay.returned(flow, packet) is Drop.UNCONFIRMED
    indication = build(StunMessageType.INDICATION, bytes(12))
    assert relay.receive(indication) is flow
    assert relay.returned(flow, indication) is None


def test_an_unconfirmed_flow_passes_few_packets(relay: Relay) -> None:
    """Each way, so a spoofed source is sent no more than that, and the upstream hears no more."""
    ufrag = credential().ufrag
    flow, packet = relay.open(ufrag)
    answers = [relay.receive(packet) for _ in range(UNCONFIRMED_PACKETS)]
    assert answers == [flow] * (UNCONFIRMED_PACKETS - 1) + [Drop.UNCONFIRMED]
    wrong = success(check(ufrag))
    passed = [relay.returned(flow, wrong) for _ in range(UNCONFIRMED_PACKETS + 1)]
    assert passed == [None] * UNCONFIRMED_PACKETS + [Drop.UNCONFIRMED]
    assert not flow.confirmed


@pytest.mark.parametrize(
    "answer",
    [
        success(check("x" * 31)),
        binding_error(bytes(12), 401, "Unauthenticated", None),
        success(check("x" * 31, transaction_id=bytes(12)))[:15],
    ],
)
def test_only_the_success_of_a_check_that_was_passed_on_confirms(
    relay: Relay, answer: bytes
) -> None:
    flow = relay.receive(check(credential().ufrag, transaction_id=bytes(12)))
    assert isinstance(flow, Flow)
    relay.returned(flow, answer)
    assert not flow.confirmed
    assert relay.receive(RTP) is Drop.UNCONFIRMED


def test_an_early_check_may_be_the_one_that_is_answered(relay: Relay) -> None:
    """A far transceiver answers the first check after the fifth was sent."""
    ufrag = credential().ufrag
    flow, first = relay.open(ufrag)
    for _ in range(5):
        relay.open(ufrag)
    assert relay.returned(flow, success(first)) is None
    assert flow.confirmed


def test_what_is_never_confirmed_is_forgotten_within_seconds(relay: Relay) -> None:
    flow, packet = relay.open(credential().ufrag)
    relay.advance(UNCONFIRMED_S)
    assert relay.events() == [Closed(flow, "unconfirmed")]
    assert relay.is_empty()
    assert relay.table.get_timer() is None
    again = relay.receive(packet)
    assert isinstance(again, Flow)
    assert again is not flow


def test_a_check_from_another_address_takes_nothing_away(relay: Relay) -> None:
    """A stolen or replayed check opens a flow of its own, at best."""
    ufrag = credential().ufrag
    mine = relay.connect(ufrag)
    thief, _ = relay.open(ufrag, ELSEWHERE)
    assert thief is not mine
    assert relay.receive(RTP) is mine
    assert relay.returned(mine, RTP) is None
    assert relay.receive(RTP, ELSEWHERE) is Drop.UNCONFIRMED
    assert relay.table.sessions == 1


def test_a_client_whose_address_changes_is_the_same_session(relay: Relay) -> None:
    """By the next check, to the same transceiver; the old flow ends by itself."""
    ufrag = credential(transceiver=0).ufrag
    old = relay.connect(ufrag)
    new = relay.connect(ufrag, ELSEWHERE)
    assert new.upstream == old.upstream
    assert relay.table.sessions == 1
    relay.advance(45, talking=(new,))
    assert relay.listener.flows == {ELSEWHERE: [new]}
    assert relay.receive(RTP, CLIENT) is Drop.NOT_A_CHECK


def test_the_upstreams_packets_keep_no_flow_alive(relay: Relay) -> None:
    """A transceiver goes on sending to a client that is gone."""
    flow = relay.connect(credential().ufrag)
    for _ in range(60):
        assert flow.closed or relay.returned(flow, RTP) is None
        relay.advance(1)
    assert flow.closed


def test_an_ice_restart_takes_over_when_it_is_confirmed(relay: Relay) -> None:
    """Until then, and if it never is, media goes where it went."""
    old = relay.connect(credential(transceiver=1).ufrag)
    ufrag = credential(transceiver=1).ufrag
    new, packet = relay.open(ufrag)
    assert new.upstream == UPSTREAM
    assert relay.receive(RTP) is old
    assert relay.returned(new, success(packet)) is None
    assert relay.receive(RTP) is new
    assert relay.returned(old, RTP) is None, "what was under way arrives"
    never, _ = relay.open(credential(transceiver=1).ufrag)
    relay.advance(UNCONFIRMED_S + 1, talking=(new,))
    assert never.closed
    assert relay.receive(RTP) is new


def test_a_client_takes_its_address_back_by_its_next_check(relay: Relay) -> None:
    """From a session of the same transceiver, which looked like an ICE restart."""
    mine = credential(lifetime=60)
    old = relay.connect(mine.ufrag)
    relay.now += 120
    spoofed = relay.connect(credential(transceiver=1, lifetime=3600).ufrag)
    relay.now += 2
    assert relay.wall > mine.expires_at
    assert relay.receive(RTP) is spoofed
    packet = check(mine.ufrag)
    assert relay.receive(packet) is old, "also when the credential has expired meanwhile"
    assert relay.returned(old, success(packet)) is None
    assert relay.receive(RTP) is old
    assert not spoofed.current


def test_an_expired_credential_opens_nothing_and_ends_nothing(relay: Relay) -> None:
    minted = credential(lifetime=60)
    flow = relay.connect(minted.ufrag)
    relay.advance(600, talking=(flow,))
    assert relay.receive(check(minted.ufrag)) is flow
    assert relay.receive(RTP) is flow
    assert relay.receive(check(credential(lifetime=60).ufrag), ELSEWHERE) is Drop.UFRAG_EXPIRED


def test_a_session_moves_after_its_credential_has_expired(relay: Relay) -> None:
    """A NAT gives a publisher of days another port: media go on from there, to the same upstream,
    as often as it happens. Once the session has lost consent, its ufrag opens nothing."""
    minted = credential(transceiver=0, lifetime=60)
    flow = relay.connect(minted.ufrag)
    for port in range(3):
        relay.advance(3600, talking=(flow,))
        relay.checked(minted.ufrag, flow.source)
        moved = relay.connect(minted.ufrag, ("203.0.113.9", 5000 + port))
        assert moved.upstream == flow.upstream
        flow = moved
    relay.advance(CONSENT_S, talking=(flow,))
    assert relay.receive(check(minted.ufrag), ELSEWHERE) is Drop.UFRAG_EXPIRED


def test_a_session_that_is_over_moves_nowhere_after_expiry(relay: Relay) -> None:
    minted = credential(lifetime=60)
    flow = relay.connect(minted.ufrag)
    relay.advance(600, talking=(flow,))
    relay.checked(minted.ufrag, flow.source)
    relay.returned(flow, session_over())
    assert relay.receive(check(minted.ufrag), ELSEWHERE) is Drop.UFRAG_EXPIRED


def test_a_flow_ends_after_its_lifetime_however_busy() -> None:
    relay = Relay(limits=Limits(lifetime_s=300))
    flow = relay.connect(credential().ufrag)
    relay.advance(290, talking=(flow,))
    assert not flow.closed
    relay.advance(20, talking=(flow,))
    assert relay.events() == [Confirmed(flow, again=False), Closed(flow, "lifetime")]


def test_two_listening_addresses_do_not_mix_their_clients(relay: Relay) -> None:
    flow = relay.connect(credential().ufrag)
    relay.listener = type(relay.listener)()
    assert relay.receive(RTP, flow.source) is Drop.NOT_A_CHECK


def test_a_route_that_is_gone_opens_nothing_and_ends_nothing(relay: Relay) -> None:
    flow = relay.connect(credential().ufrag)
    relay.table.routes = RouteTable()
    assert relay.receive(RTP) is flow
    assert relay.receive(check(credential().ufrag), ELSEWHERE) is Drop.NO_ROUTE


def test_draining_takes_no_new_session(relay: Relay) -> None:
    """Sessions that are here may still change their address."""
    ufrag = credential().ufrag
    flow = relay.connect(ufrag)
    relay.table.draining = True
    assert relay.receive(check(credential().ufrag), ELSEWHERE) is Drop.DRAINING
    assert relay.receive(RTP) is flow
    assert isinstance(relay.receive(check(ufrag), ELSEWHERE), Flow)


def test_many_sessions_come_from_one_address_and_port(relay: Relay) -> None:
    """A client that has one port for all its calls, or a carrier's NAT: 64 of them are answered as
    long as they check, and the next one is refused, for a reason that is counted."""
    flows = [relay.checked(credential().ufrag) for _ in range(64)]
    for _ in range(3):
        relay.now += 2.5
        for flow in flows:
            assert relay.checked(flow.ufrag.decode()) is flow
    assert relay.receive(check(credential().ufrag)) is Drop.SOURCE_FULL


def test_caps_of_ufrag_and_source(relay: Relay) -> None:
    ufrag = credential().ufrag
    for number in range(ADDRESSES_PER_UFRAG):
        relay.open(ufrag, (f"203.0.113.{number}", 1))
    assert relay.receive(check(ufrag), ELSEWHERE) is Drop.UFRAG_FULL
    for _ in range(FLOWS_PER_SOURCE):
        relay.open(credential().ufrag)
    assert relay.receive(check(credential().ufrag)) is Drop.SOURCE_FULL


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        (("198.51.100.255", 1), ("198.51.101.0", 1)),
        (("2001:db8:0:ff::1", 1, 0, 0), ("2001:db8:0:100::1", 1, 0, 0)),
    ],
)
def test_caps_of_a_prefix(inside: tuple[str, int], outside: tuple[str, int]) -> None:
    """/24 and /56; a confirmed flow counts, a closed one does not."""
    relay = Relay(limits=Limits(flows_per_prefix=2))
    first = CLIENT if len(inside) == 2 else ("2001:db8::1", 2, 0, 0)
    flow = relay.connect(credential().ufrag, first)
    relay.open(credential().ufrag, (first[0], 3, *first[2:]))
    assert relay.receive(check(credential().ufrag), inside) is Drop.PREFIX_FULL
    assert isinstance(relay.receive(check(credential().ufrag), outside), Flow)
    relay.table.close(flow, "socket")
    assert isinstance(relay.receive(check(credential().ufrag), inside), Flow)


def test_caps_in_all() -> None:
    """Unconfirmed flows never take the place of all."""
    relay = Relay(limits=Limits(flows=3, unconfirmed=2))
    relay.open(credential().ufrag, ("203.0.113.1", 1))
    relay.open(credential().ufrag, ("203.0.113.2", 1))
    assert relay.receive(check(credential().ufrag)) is Drop.UNCONFIRMED_FULL
    relay.advance(UNCONFIRMED_S)
    for number in range(3):
        relay.connect(credential().ufrag, ("203.0.113.3", number))
    assert relay.receive(check(credential().ufrag)) is Drop.FULL


def test_a_restored_flow_is_confirmed_and_its_next_check_is_its_own(relay: Relay) -> None:
    ufrag = credential(lifetime=60).ufrag.encode()
    relay.now += 3600
    flow = relay.table.restore(relay.listener, CLIENT, ufrag, UPSTREAM, age_s=600, now=relay.now)
    assert flow is not None
    assert relay.table.sessions == 1
    assert relay.receive(RTP) is flow
    assert relay.receive(check(ufrag.decode())) is flow, "its credential may have expired"
    assert relay.returned(flow, RTP) is None
    relay.advance(45)
    assert flow.closed
    assert relay.is_empty()


def test_what_may_not_be_restored(relay: Relay) -> None:
    """An upstream that is not in the table, a source that has a flow, more than the caps."""
    table, now = relay.table, relay.now
    gone = ("192.0.2.99", 3479)
    assert table.restore(relay.listener, CLIENT, b"u" * 31, gone, age_s=0, now=now) is None
    for number in range(ADDRESSES_PER_UFRAG):
        source = ("203.0.113.1", number)
        assert table.restore(relay.listener, source, b"u" * 31, UPSTREAM, age_s=0, now=now)
        assert table.restore(relay.listener, source, b"v" * 31, UPSTREAM, age_s=0, now=now) is None
    assert table.restore(relay.listener, CLIENT, b"u" * 31, UPSTREAM, age_s=0, now=now) is None


def test_a_flow_that_the_shell_closes_leaves_nothing(relay: Relay) -> None:
    """However many: not even a timer."""
    for number in range(5000):
        flow, _ = relay.open(credential().ufrag, ("203.0.113.1", number))
        relay.table.close(flow, "socket")
        relay.table.close(flow, "socket")
    assert relay.is_empty()
    assert len(relay.table._timers) < 1000
    assert len(relay.events()) == 5000


def test_active_flows_are_named_for_the_journal(relay: Relay) -> None:
    busy = relay.connect(credential().ufrag)
    idle = relay.connect(credential().ufrag, ELSEWHERE)
    relay.now += UNCONFIRMED_S
    relay.table.handle_timer(now=relay.now)
    relay.receive(RTP)
    relay.now += relay.table.limits.idle_s / 2
    assert relay.table.handle_timer(now=relay.now) == [busy]
    assert not idle.closed
