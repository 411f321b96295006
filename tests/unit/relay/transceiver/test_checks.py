"""An ICE-lite agent's answers, and the port that leads datagrams to sessions; no sockets."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_ice.path_probe import PATH_PROBE, path_probe_request
from firsthop_ice.session_over import is_session_over
from firsthop_ice.stun import USERNAME, StunMessageType, build, parse
from firsthop_relay.transceiver.checks import (
    ICE_CONTROLLED,
    USE_CANDIDATE,
    Answered,
    CheckDrop,
    CheckSource,
    answer_check,
)
from firsthop_relay.transceiver.counts import TransceiverCounters
from firsthop_relay.transceiver.path import CONSENT_S, MAX_SOURCES, SILENCE_S, Path
from firsthop_relay.transceiver.port import MAX_UFRAGS, MediaPort

UFRAG, PASSWORD = "server", "a-password-of-32-characters-long"
HOME, AWAY = ("192.0.2.1", 5000), ("198.51.100.1", 6000)
MEDIA = b"\x80media"
_serial = count(1)


def check(
    *more: tuple[int, bytes],
    ufrag: str = UFRAG,
    password: str | None = PASSWORD,
    nominate: bool = False,
    kind: StunMessageType = StunMessageType.REQUEST,
) -> bytes:
    """A check as a browser sends it, each with a transaction id of its own."""
    attributes = [(USERNAME, f"{ufrag}:client".encode()), *more]
    if nominate:
        attributes.append((USE_CANDIDATE, b""))
    return build(kind, next(_serial).to_bytes(12, "big"), attributes, password=password)


@dataclass
class StubPeer:
    path: Path = field(default_factory=lambda: Path(began=0.0))
    taken: list[bytes] = field(default_factory=list)
    choices: int = 0
    full: bool = False

    def chosen(self) -> None:
        self.choices += 1

    def take(self, packet: bytes) -> bool:
        if not self.full:
            self.taken.append(packet)
        return not self.full


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def port(clock: Clock) -> MediaPort:
    return MediaPort(TransceiverCounters(), clock=clock)


@pytest.fixture
def peer(port: MediaPort) -> StubPeer:
    peer = StubPeer()
    port.admit(peer, UFRAG, PASSWORD)
    return peer


def password_of(ufrag: bytes) -> str | None:
    return PASSWORD if ufrag == UFRAG.encode() else None


def test_a_genuine_check_is_answered_under_its_password() -> None:
    """The answer names the source and can be verified; the peer's nomination is seen."""
    outcome = answer_check(check(), HOME, password_of)
    assert isinstance(outcome, Answered)
    said = parse(outcome.answer)
    assert (said.kind, said.authentic(PASSWORD)) == (StunMessageType.SUCCESS, True)
    mapped = said.mapped_address()
    assert mapped is not None
    assert (str(mapped[0]), mapped[1]) == HOME
    assert (outcome.accepted, outcome.nominated) == (True, False)
    nominating = answer_check(check(nominate=True), HOME, password_of)
    assert isinstance(nominating, Answered)
    assert nominating.nominated


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (check(ufrag="nobody"), CheckDrop.UFRAG),
        (check(password=None), CheckDrop.INTEGRITY),
        (check(password="another-password-of-32-characters"), CheckDrop.INTEGRITY),
        (check((0x7777, b"must be understood")), CheckDrop.NOT_UNDERSTOOD),
        (check(kind=StunMessageType.INDICATION), CheckDrop.STUN),
        (check(kind=StunMessageType.SUCCESS), CheckDrop.STUN),
        (check()[:-8], CheckDrop.MALFORMED),
        (b"\0\1", CheckDrop.STUN),
    ],
)
def test_all_else_is_silently_dropped(packet: bytes, reason: CheckDrop) -> None:
    """Nobody without the password gets a byte back."""
    assert answer_check(packet, HOME, password_of) is reason


def test_a_peer_that_believes_to_be_controlled_is_told_to_switch() -> None:
    """487, authenticated, and its address is not vouched for (RFC 8445 §7.3.1.1)."""
    outcome = answer_check(check((ICE_CONTROLLED, bytes(8))), HOME, password_of)
    assert isinstance(outcome, Answered)
    said = parse(outcome.answer)
    assert said.error() == (487, "Role Conflict")
    assert (said.authentic(PASSWORD), outcome.accepted) == (True, False)


@pytest.mark.fuzz
@given(st.binary(max_size=80), st.integers(0, 200))
def test_no_bytes_make_it_raise_or_speak(junk: bytes, cut: int) -> None:
    """Random bytes, and a genuine check cut anywhere or with junk behind."""
    whole = check()
    for packet in (junk, whole[:cut], whole + junk, b"\0\1" + junk):
        if packet != whole:
            assert isinstance(answer_check(packet, HOME, password_of), CheckDrop)


@pytest.mark.fuzz
@given(
    st.lists(st.tuples(st.sampled_from([HOME, AWAY]), st.binary(max_size=40), st.integers(0, 3)))
)
def test_no_packets_move_a_session(packets: list[tuple[CheckSource, bytes, int]]) -> None:
    """Junk, damaged checks and checks of another password, also from the session's own address."""
    port = MediaPort(TransceiverCounters(), clock=lambda: 0.0)
    session = StubPeer()
    port.admit(session, UFRAG, PASSWORD)
    assert isinstance(port.receive(check(nominate=True), HOME), Answered)
    for source, junk, kind in packets:
        whole = check(password="another-password-of-32-characters")
        port.receive((b"\0\1" + junk, check() + junk + b"x", whole, junk)[kind], source)
    assert port.receive(MEDIA, HOME) is None
    assert port.receive(MEDIA, AWAY) is CheckDrop.SOURCE
    assert session.choices == 1


def test_checks_go_by_ufrag_and_all_else_by_address(port: MediaPort, peer: StubPeer) -> None:
    """Media from a stranger is dropped; after a check of any session it is that session's."""
    other = StubPeer()
    port.admit(other, "other", PASSWORD)
    assert port.receive(MEDIA, HOME) is CheckDrop.SOURCE
    assert isinstance(port.receive(check(), HOME), Answered)
    assert port.receive(MEDIA, HOME) is None
    assert (peer.taken, other.taken) == ([MEDIA], [])
    # The same address with another session's ufrag: led there at once (a client's next call).
    assert isinstance(port.receive(check(ufrag="other"), HOME), Answered)
    assert port.receive(MEDIA, HOME) is None
    assert (len(peer.taken), other.taken) == (1, [MEDIA])


def test_nothing_is_sent_before_the_peer_has_chosen(port: MediaPort, peer: StubPeer) -> None:
    """A check alone chooses no address; USE-CANDIDATE does, and the last one counts."""
    port.receive(check(), HOME)
    assert (peer.path.selected, peer.choices) == (None, 0)
    port.receive(check(nominate=True), HOME)
    assert (peer.path.selected, peer.choices) == (HOME, 1)
    port.receive(check(), AWAY)
    assert peer.path.selected == HOME
    port.receive(check(nominate=True), AWAY)
    assert peer.path.selected == AWAY


def test_a_peer_that_nominates_once_is_followed_when_its_address_falls_silent(
    port: MediaPort, peer: StubPeer, clock: Clock
) -> None:
    """Its relay forgot it: a plain check from elsewhere is enough after a while, not before."""
    port.receive(check(nominate=True), HOME)
    clock.now = SILENCE_S
    port.receive(MEDIA, HOME)
    clock.now = 2 * SILENCE_S
    port.receive(check(), AWAY)
    assert peer.path.selected == HOME
    clock.now += 0.1
    port.receive(check(), AWAY)
    assert peer.path.selected == AWAY


def test_a_forged_check_moves_nothing(port: MediaPort, peer: StubPeer, clock: Clock) -> None:
    """Neither an address nor the time of the last word."""
    port.receive(check(nominate=True), HOME)
    clock.now = 100 * SILENCE_S
    forged = check(nominate=True, password="another-password-of-32-characters")
    assert port.receive(forged, AWAY) is CheckDrop.INTEGRITY
    assert peer.path.selected == HOME
    assert peer.path.sources == (HOME,)
    assert port.receive(MEDIA, AWAY) is CheckDrop.SOURCE


def test_a_replayed_check_moves_nothing(port: MediaPort, peer: StubPeer, clock: Clock) -> None:
    """It is answered, as one that is repeated must be, and its sender gets no other packet."""
    sniffed = check(nominate=True)
    port.receive(sniffed, HOME)
    for _ in range(10):
        clock.now += SILENCE_S
        port.receive(check(), HOME)
        assert isinstance(port.receive(sniffed, AWAY), Answered)
        assert peer.path.sources == (HOME,)
        assert peer.path.selected == HOME
        assert port.receive(MEDIA, AWAY) is CheckDrop.SOURCE


def test_a_replayed_check_keeps_no_session_open(
    port: MediaPort, peer: StubPeer, clock: Clock
) -> None:
    sniffed = check(nominate=True)
    port.receive(sniffed, HOME)
    clock.now = CONSENT_S + 0.1
    port.receive(sniffed, HOME)
    assert peer.path.expired(clock.now)


def test_a_probe_from_keys_alone_is_answered_and_opens_nothing(
    port: MediaPort, peer: StubPeer
) -> None:
    """Its ufrag has no session: the way there and back is proved, and no address vouched for."""
    port.probe_password_of = lambda ufrag: PASSWORD if ufrag == b"probe" else None
    outcome = port.receive(check((PATH_PROBE, b""), ufrag="probe", nominate=True), HOME)
    assert isinstance(outcome, Answered)
    assert parse(outcome.answer).authentic(PASSWORD)
    assert port.receive(MEDIA, HOME) is CheckDrop.SOURCE
    assert peer.path.selected is None
    assert port.receive(check((PATH_PROBE, b""), ufrag="other"), HOME) is CheckDrop.UFRAG


def test_only_sessions_that_exist_and_marked_probes_get_consent(
    port: MediaPort, peer: StubPeer
) -> None:
    """A client of a session that is gone notices it: its checks stay unanswered, although the
    transceiver can derive their password (RFC 7675 §5.1)."""
    port.probe_password_of = lambda _: PASSWORD
    assert isinstance(port.receive(check(nominate=True), HOME), Answered)
    port.forget(peer)
    assert port.receive(check(nominate=True), HOME) is CheckDrop.UFRAG
    restarted = MediaPort(TransceiverCounters(), clock=Clock())
    restarted.probe_password_of = lambda _: PASSWORD
    assert restarted.receive(check(nominate=True), HOME) is CheckDrop.UFRAG
    probe = path_probe_request(bytes(12), f"{UFRAG}:probe".encode(), PASSWORD)
    assert isinstance(restarted.receive(probe, HOME), Answered)
    forged = path_probe_request(bytes(12), f"{UFRAG}:probe".encode(), "x" * 32)
    assert restarted.receive(forged, HOME) is CheckDrop.INTEGRITY


def test_addresses_of_a_session_are_bounded(port: MediaPort, peer: StubPeer) -> None:
    """The oldest goes, and is led nowhere any more; the chosen one stays."""
    port.receive(check(nominate=True), HOME)
    for n in range(MAX_SOURCES + 3):
        port.receive(check(), ("203.0.113.1", 1000 + n))
    assert len(peer.path.sources) == MAX_SOURCES
    assert HOME in peer.path.sources
    assert port.receive(MEDIA, ("203.0.113.1", 1000)) is CheckDrop.SOURCE
    assert port.receive(MEDIA, HOME) is None


def test_a_restart_brings_a_new_ufrag_and_the_old_one_lives_until_the_next(
    port: MediaPort, peer: StubPeer
) -> None:
    """Media go on from the old address until the new credential has brought another."""
    port.receive(check(nominate=True), HOME)
    port.admit(peer, "second", PASSWORD)
    assert isinstance(port.receive(check(), HOME), Answered)
    assert isinstance(port.receive(check(ufrag="second", nominate=True), AWAY), Answered)
    assert peer.path.selected == AWAY
    assert port.receive(MEDIA, HOME) is None
    for n in range(MAX_UFRAGS):
        port.admit(peer, f"later{n}", PASSWORD)
    assert port.receive(check(), HOME) is CheckDrop.UFRAG
    assert port.receive(check(ufrag="second"), HOME) is CheckDrop.UFRAG


def test_a_forgotten_peer_leaves_nothing_behind(port: MediaPort, peer: StubPeer) -> None:
    """Neither its ufrags nor its addresses; others keep theirs."""
    other = StubPeer()
    port.admit(other, "other", PASSWORD)
    port.receive(check(), HOME)
    port.receive(check(ufrag="other"), AWAY)
    port.forget(peer)
    port.forget(peer)
    assert port.receive(check(), HOME) is CheckDrop.UFRAG
    assert port.receive(MEDIA, HOME) is CheckDrop.SOURCE
    assert port.receive(MEDIA, AWAY) is None
    assert not port.knows(UFRAG)
    assert port.knows("other")


def test_relays_learn_that_a_session_is_over(
    port: MediaPort, peer: StubPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, at each address that is still its own."""
    sent: list[tuple[bytes, object]] = []
    monkeypatch.setattr(port, "send", lambda *packet: sent.append(packet))
    third = ("192.0.2.3", 7000)
    port.admit(StubPeer(), "other", PASSWORD)
    for source in (HOME, AWAY, third):
        port.receive(check(), source)
    port.receive(check(ufrag="other"), third)
    port.forget(peer)
    port.forget(peer)
    assert [source for _, source in sent] == [HOME, AWAY]
    assert all(is_session_over(packet) for packet, _ in sent)


def test_a_session_with_too_much_to_read_loses_the_rest(port: MediaPort, peer: StubPeer) -> None:
    """A flood from a known address fills no memory."""
    port.receive(check(), HOME)
    peer.full = True
    assert port.receive(MEDIA, HOME) is CheckDrop.QUEUE


def test_consent_ends_when_checks_do() -> None:
    """Media alone keep nobody alive (RFC 7675 §5.1)."""
    path = Path(began=10.0)
    assert not path.expired(10.0 + CONSENT_S)
    assert path.expired(10.1 + CONSENT_S)
    path.check(HOME, 40.0, nominated=True)
    path.heard(HOME, 69.0)
    assert not path.expired(40.0 + CONSENT_S)
    assert path.expired(40.1 + CONSENT_S)
