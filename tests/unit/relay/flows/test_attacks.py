"""Holders of a credential of their own, or of a sniffed check, take nothing from a client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from firsthop_relay.flows.drops import Drop
from firsthop_relay.flows.flow import ClientSockaddr, Closed, Flow, Held
from firsthop_relay.flows.limits import (
    ADDRESSES_PER_UFRAG,
    CHECKED_WITHIN_S,
    CONSENT_S,
    FLOWS_PER_SOURCE,
)
from firsthop_relay.flows.routes import Route, RouteTable, Upstream
from support.relay_world import (
    CLIENT,
    CLUSTER,
    DTLS,
    ROUTES,
    RTP,
    Relay,
    check,
    credential,
    session_over,
    success,
)

REBOUND = ("198.51.100.7", 40001)
ATTACKERS = [(f"203.0.113.{number}", 1) for number in range(7)]
CHECKS_S = 2.5
"""Interval of a client's checks; libwebrtc's."""


@pytest.fixture
def relay() -> Relay:
    return Relay()


def answered(relay: Relay, packet: bytes, source: ClientSockaddr = CLIENT) -> None:
    """A check that its transceiver answers, unless the relay drops it."""
    flow = relay.receive(packet, source)
    if isinstance(flow, Flow):
        relay.returned(flow, success(packet))


def share_of_a_spoofed_client(relay: Relay, mine: str, theirs: Iterator[str]) -> float:
    """The part of a client's packets that reach its own transceiver in a minute, while somebody
    sends two checks a second from its address."""
    relay.connect(mine)
    own = 0
    for tick in range(240):
        relay.advance(0.25)
        if tick % 2 == 0:
            answered(relay, check(next(theirs)))
        if tick % int(CHECKS_S / 0.25) == 7:
            relay.checked(mine)
        outcome = relay.receive(RTP)
        own += isinstance(outcome, Flow) and outcome.ufrag == mine.encode()
    return own / 240


def always(ufrag: str) -> Iterator[str]:
    while True:
        yield ufrag


def fresh(transceiver: int) -> Iterator[str]:
    while True:
        yield credential(transceiver=transceiver).ufrag


def test_a_spoofer_with_another_transceiver_gets_no_packet(relay: Relay) -> None:
    theirs = always(credential(transceiver=2).ufrag)
    assert share_of_a_spoofed_client(relay, credential(transceiver=1).ufrag, theirs) == 1


def test_a_spoofer_with_many_credentials_gets_no_packet(relay: Relay) -> None:
    assert share_of_a_spoofed_client(relay, credential(transceiver=1).ufrag, fresh(2)) == 1


@pytest.mark.parametrize("theirs", [always(credential(transceiver=1).ufrag), fresh(1)])
def test_a_spoofer_with_the_same_transceiver_gets_one_interval_of_checks(
    relay: Relay, theirs: Iterator[str]
) -> None:
    """It looks like an ICE restart, until the client's next check shows that it was none."""
    share = share_of_a_spoofed_client(relay, credential(transceiver=1).ufrag, theirs)
    assert share >= 1 - CHECKS_S / 60


def test_only_stun_passes_between_a_spoofer_and_its_transceiver(relay: Relay) -> None:
    """So a client in a call is not sent the media of another session."""
    relay.connect(credential(transceiver=1).ufrag)
    theirs = relay.checked(credential(transceiver=2).ufrag)
    assert theirs.confirmed
    assert Held(theirs) in relay.events()
    for packet in (RTP, DTLS, b""):
        assert relay.returned(theirs, packet) is Drop.OCCUPIED
    assert relay.returned(theirs, success(check("x" * 31))) is None


def test_an_ice_restart_keeps_its_place(relay: Relay) -> None:
    """Same transceiver, and no check with the former ufrag any more."""
    old = relay.connect(credential(transceiver=1).ufrag)
    relay.advance(10, talking=(old,))
    ufrag = credential(transceiver=1).ufrag
    new = relay.connect(ufrag)
    for _ in range(30):
        relay.advance(CHECKS_S, talking=(new,))
        assert relay.checked(ufrag) is relay.receive(RTP) is new
    assert old.closed


def test_a_restart_after_a_diversion_waits_for_the_former_checks(relay: Relay) -> None:
    """Who has taken its place back gives it up again when it is silent for longer than a client."""
    mine, restarted = credential(transceiver=1), credential(transceiver=1)
    old = relay.connect(mine.ufrag)
    relay.advance(1)
    relay.checked(credential(transceiver=1).ufrag)
    relay.advance(1)
    assert relay.checked(mine.ufrag) is relay.receive(RTP) is old
    relay.advance(CHECKED_WITHIN_S)
    new = relay.checked(restarted.ufrag)
    assert relay.receive(RTP) is old
    relay.advance(CHECKS_S)
    assert relay.checked(restarted.ufrag) is relay.receive(RTP) is new


@pytest.mark.parametrize(
    ("first", "second", "restart"),
    [
        ((CLUSTER, 321), (CLUSTER, 321), True),
        ((CLUSTER, 321), (CLUSTER, 322), False),
        ((CLUSTER, 0), (CLUSTER, 0), False),
        ((9, 0), (9, 0), True),
        ((7, 1), (7, 1), True),
        ((7, 1), (7, 2), False),
    ],
)
def test_what_is_the_same_transceiver(
    first: tuple[int, int], second: tuple[int, int], restart: bool
) -> None:
    """Named by both, or drawn to the same address; another relay's draw is not known here."""
    alone = Upstream(host="192.0.2.9", port=3479, wire_id=9)
    relay = Relay(routes=RouteTable([*ROUTES.routes, Route(9, (alone,))]))
    old = relay.connect(credential(*first).ufrag)
    relay.advance(1)
    new = relay.checked(credential(*second).ufrag)
    assert new.confirmed
    assert new.current == restart
    assert old.current != restart


def test_a_reused_port_belongs_to_the_next_session_after_30_s(relay: Relay) -> None:
    """A NAT gives a port to another client, whose media go to its transceiver as soon as the
    former session has had no check for the time of consent (RFC 7675 §5.1)."""
    former = relay.connect(credential(transceiver=1).ufrag)
    ufrag = credential(transceiver=2).ufrag
    relay.advance(1)
    while relay.now < former.consented_at + CONSENT_S:
        next_one = relay.checked(ufrag)
        assert relay.receive(RTP) is former
        relay.advance(CHECKS_S, talking=(former,))
    assert relay.checked(ufrag) is relay.receive(RTP) is next_one


def test_checks_without_an_answer_hold_no_place(relay: Relay) -> None:
    """A former client's transceiver that is down, or refuses it, is no session."""
    mine = credential(transceiver=1).ufrag
    former = relay.connect(mine)
    for _ in range(12):
        relay.advance(CHECKS_S, talking=(former,))
        relay.receive(check(mine))
    assert relay.connect(credential(transceiver=2).ufrag) is relay.receive(RTP)


def test_a_transceiver_gives_a_place_free(relay: Relay) -> None:
    """A client that hangs up and calls again from the same port does not wait."""
    former = relay.connect(credential(transceiver=1).ufrag)
    ufrag = credential(transceiver=2).ufrag
    assert relay.checked(ufrag) is not relay.receive(RTP)
    assert relay.returned(former, session_over()) is None
    assert relay.receive(RTP) is former, "nobody else is there yet"
    assert relay.checked(ufrag) is relay.receive(RTP)


def test_no_client_says_that_a_session_is_over(relay: Relay) -> None:
    mine = relay.connect(credential(transceiver=1).ufrag)
    assert relay.receive(session_over()) is mine
    relay.checked(credential(transceiver=2).ufrag)
    assert relay.receive(RTP) is mine


# A sniffed check


def test_a_replayed_check_confirms_nothing(relay: Relay) -> None:
    """Whether it confirmed its client's flow, or was one of the many after."""
    ufrag = credential().ufrag
    mine, first = relay.open(ufrag)
    relay.returned(mine, success(first))
    later = check(ufrag)
    assert relay.receive(later) is mine
    assert relay.returned(mine, success(later)) is None
    for packet, source in ((first, ATTACKERS[0]), (later, ATTACKERS[1])):
        assert relay.receive(packet, source) is Drop.REPLAYED
        assert relay.receive(RTP, source) is Drop.NOT_A_CHECK
    assert relay.receive(RTP) is mine


def test_a_replay_that_is_on_its_way_with_the_check_confirms_nothing(relay: Relay) -> None:
    mine, packet = relay.open(credential().ufrag)
    theirs = relay.receive(packet, ATTACKERS[0])
    assert isinstance(theirs, Flow)
    for flow in (mine, theirs):
        assert relay.returned(flow, success(packet)) is None
    assert mine.current
    assert not theirs.confirmed


def test_replays_keep_a_client_from_no_new_address(relay: Relay) -> None:
    """From seven addresses, twice a second, for a minute; then the client's NAT rebinds."""
    ufrag = credential().ufrag
    mine, sniffed = relay.open(ufrag)
    relay.returned(mine, success(sniffed))
    for _ in range(120):
        relay.advance(0.5, talking=(mine,))
        for attacker in ATTACKERS:
            answered(relay, sniffed, attacker)
    moved = relay.connect(ufrag, REBOUND)
    assert relay.receive(RTP, REBOUND) is moved
    assert relay.receive(RTP) is mine


def test_checks_that_are_never_answered_keep_a_client_from_no_new_address(relay: Relay) -> None:
    """Made with a sniffed ufrag and no password, from seven addresses, four times a second each."""
    ufrag = credential().ufrag
    mine = relay.connect(ufrag)
    for _ in range(40):
        relay.advance(0.25, talking=(mine,))
        for attacker in ATTACKERS:
            relay.receive(check(ufrag, "wrong"), attacker)
        answered(relay, check(ufrag), REBOUND)
    assert isinstance(relay.receive(RTP, REBOUND), Flow)


def test_confirmed_addresses_without_checks_give_way(relay: Relay) -> None:
    """Replays of checks that the relay has never seen, say of a client's way by another relay."""
    ufrag = credential().ufrag
    mine = relay.connect(ufrag)
    for attacker in ATTACKERS:
        relay.connect(ufrag, attacker)
    assert relay.receive(check(ufrag), REBOUND) is Drop.UFRAG_FULL, "all were checked just now"
    relay.advance(CHECKED_WITHIN_S + 1, talking=(mine,))
    relay.checked(ufrag)
    moved = relay.connect(ufrag, REBOUND)
    assert relay.receive(RTP, REBOUND) is moved
    assert relay.receive(RTP) is mine
    closed = [event for event in relay.events() if isinstance(event, Closed)]
    assert [(each.flow.source, each.reason) for each in closed] == [(ATTACKERS[0], "replaced")]


def test_a_storm_of_addresses_leaves_a_call_alone(relay: Relay) -> None:
    """However many, none replaces a flow whose checks are answered."""
    ufrag = credential().ufrag
    mine = relay.connect(ufrag)
    for number in range(1000):
        relay.receive(check(ufrag), (f"203.0.{number >> 8}.{number & 255}", 1))
    assert relay.receive(RTP) is mine
    assert relay.table.flow_counts.total == ADDRESSES_PER_UFRAG


def test_spoofed_credentials_keep_no_restart_from_an_address(relay: Relay) -> None:
    """Whose flows fill the source's places."""
    relay.connect(credential(transceiver=1).ufrag)
    for _ in range(2 * FLOWS_PER_SOURCE):
        answered(relay, check(credential(transceiver=2).ufrag))
    relay.advance(1)
    new = relay.connect(credential(transceiver=1).ufrag)
    assert relay.receive(RTP) is new
    assert len(relay.listener.flows[CLIENT]) == FLOWS_PER_SOURCE


def test_an_address_that_is_in_use_by_many_is_full(relay: Relay) -> None:
    for _ in range(FLOWS_PER_SOURCE):
        relay.connect(credential(transceiver=1).ufrag)
    assert relay.receive(check(credential(transceiver=1).ufrag)) is Drop.SOURCE_FULL
    relay.advance(CHECKED_WITHIN_S + 1)
    assert isinstance(relay.receive(check(credential(transceiver=1).ufrag)), Flow)
