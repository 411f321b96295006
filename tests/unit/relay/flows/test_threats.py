"""Nobody without a credential makes the relay keep, send or open anything."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firsthop_ice.relay_load import load_request
from firsthop_ice.stun import (
    USERNAME,
    StunMessageType,
    binding_error,
    binding_success,
    build,
    parse,
)
from firsthop_ice.ufrag import probe_password
from firsthop_relay.flows.drops import Drop
from firsthop_relay.flows.flow import Flow
from firsthop_relay.flows.limits import FLOWS_PER_SOURCE
from support.relay_world import (
    CLIENT,
    DTLS,
    KEYS,
    PROBE,
    RTP,
    UNKNOWN_REGION,
    Relay,
    check,
    credential,
    session_over,
    success,
)

SESSION = credential(serial=1 << 40)
SESSION_CHECK = check(SESSION.ufrag, transaction_id=bytes(range(12)))
PROBE_CHECK = check(PROBE.ufrag, PROBE.password, transaction_id=bytes(range(12)))
MESSAGES = [
    *(SESSION_CHECK, PROBE_CHECK, success(SESSION_CHECK), session_over(), RTP, DTLS),
    load_request(bytes(range(12)), PROBE),
    binding_error(bytes(range(12)), 487, "Role Conflict", "password"),
]


def without_fingerprint(packet: bytes) -> bytes:
    packet = packet[:-8]
    return packet[:2] + (len(packet) - 20).to_bytes(2, "big") + packet[4:]


def resigned(ufrag: str) -> str:
    """The password that a relay would derive, tag or no tag."""
    return probe_password(ufrag, KEYS.by_id[5])


def forged(ufrag: str) -> str:
    return ufrag[:-2] + ("A" if ufrag[-2] != "A" else "E") + ufrag[-1]


DROPS = [
    (b"", Drop.NOT_A_CHECK),
    (b"\x80" * 172, Drop.NOT_A_CHECK),
    (binding_success(bytes(12), CLIENT, PROBE.password), Drop.NOT_A_CHECK),
    (build(StunMessageType.REQUEST, bytes(12)), Drop.NOT_A_CHECK),
    (
        build(StunMessageType.INDICATION, bytes(12), [(USERNAME, SESSION.ufrag.encode())]),
        Drop.NOT_A_CHECK,
    ),
    (check("short"), Drop.UFRAG_LENGTH),
    (check("-" * 31), Drop.UFRAG_ALPHABET),
    (check("A" * 30 + "B"), Drop.UFRAG_NOT_CANONICAL),
    (check("/" + "A" * 30), Drop.UFRAG_VERSION),
    (check("A" * 31), Drop.UFRAG_UNKNOWN_KEY),
    (check(forged(PROBE.ufrag), resigned(forged(PROBE.ufrag))), Drop.UFRAG_TAG),
    (check(forged(SESSION.ufrag)), Drop.UFRAG_TAG),
    (check(credential(lifetime=-60).ufrag), Drop.UFRAG_EXPIRED),
    (check(credential(UNKNOWN_REGION).ufrag), Drop.NO_ROUTE),
    (check(credential(transceiver=3).ufrag), Drop.NO_ROUTE),
    *(
        case
        for good in (SESSION_CHECK, PROBE_CHECK)
        for case in (
            (good + b"\0\0\0\0", Drop.MALFORMED),
            (good[:-1], Drop.MALFORMED),
            (good[:-4] + b"\0\0\0\0", Drop.MALFORMED),
            (without_fingerprint(good), Drop.NO_FINGERPRINT),
        )
    ),
    (check(PROBE.ufrag, "wrong"), Drop.INTEGRITY),
    (build(StunMessageType.REQUEST, bytes(12), [(USERNAME, PROBE.ufrag.encode())]), Drop.INTEGRITY),
    (
        build(StunMessageType.REQUEST, bytes(12), [(USERNAME, SESSION.ufrag.encode())]),
        Drop.INTEGRITY,
    ),
    (check(PROBE.ufrag, PROBE.password, attributes=[(0x0030, b"")]), Drop.NOT_UNDERSTOOD),
]


@pytest.mark.parametrize(("packet", "reason"), DROPS)
def test_strangers_are_dropped_for_their_reason(packet: bytes, reason: Drop) -> None:
    relay = Relay()
    assert relay.receive(packet) is reason
    assert relay.is_empty()


def test_every_reason_a_stranger_can_meet_has_a_case() -> None:
    """The rest needs a credential, or the kernel."""
    others = {reason for reason in Drop if reason.endswith("full")}
    others |= {Drop.DRAINING, Drop.REPLAYED, Drop.UNCONFIRMED, Drop.OCCUPIED}
    others |= {Drop.NO_SOCKET, Drop.UPSTREAM, Drop.SEND}
    assert {reason for _, reason in DROPS} | others == set(Drop)


def test_a_relay_without_keys_believes_nobody() -> None:
    relay = Relay()
    relay.table.keys = None
    assert relay.receive(SESSION_CHECK) is Drop.UFRAG_UNKNOWN_KEY
    assert relay.receive(PROBE_CHECK) is Drop.UFRAG_UNKNOWN_KEY


@pytest.mark.parametrize("source", [CLIENT, ("2001:db8::7", 40000, 0, 0), ("fe80::7%lo", 1, 0, 1)])
@pytest.mark.parametrize("sender", [b":peer", b"", b":a:b", b":" + b"x" * 200])
def test_a_probe_is_answered_with_less_than_it_brought(
    source: tuple[str, int], sender: bytes
) -> None:
    """Signed, with its transaction id and where it came from; no flow is made of it."""
    relay = Relay()
    packet = check(PROBE.ufrag, PROBE.password, transaction_id=bytes(12), sender=sender)
    answer = relay.receive(packet, source)
    assert isinstance(answer, bytes)
    message = parse(answer)
    assert (message.kind, message.transaction_id) == (StunMessageType.SUCCESS, bytes(12))
    address = message.mapped_address()
    assert address is not None
    assert (str(address[0]), address[1]) == (source[0].partition("%")[0], source[1])
    assert message.authentic(PROBE.password)
    assert message.fingerprinted
    assert len(answer) <= 0.87 * len(packet)
    assert relay.is_empty()


def test_what_ice_agents_add_is_understood() -> None:
    """PRIORITY, USE-CANDIDATE, ICE-CONTROLLING, and unknown optional attributes."""
    extra = [(0x0024, bytes(4)), (0x0025, b""), (0x802A, bytes(8)), (0xC057, b"net")]
    answer = Relay().receive(check(PROBE.ufrag, PROBE.password, attributes=extra))
    assert isinstance(answer, bytes)


@pytest.mark.parametrize("good", [SESSION_CHECK, PROBE_CHECK])
def test_a_cut_check_does_nothing(good: bytes) -> None:
    """At each byte."""
    relay = Relay()
    for size in range(len(good)):
        assert isinstance(relay.receive(good[:size]), Drop)
    assert relay.is_empty()


@pytest.mark.parametrize("good", [SESSION_CHECK, PROBE_CHECK])
def test_a_check_with_a_turned_bit_does_nothing(good: bytes) -> None:
    """Each of its bits; so no field, not even of the transaction id, can be another one."""
    relay = Relay()
    for bit in range(len(good) * 8):
        packet = bytearray(good)
        packet[bit // 8] ^= 1 << bit % 8
        assert isinstance(relay.receive(bytes(packet)), Drop), bit
    assert relay.is_empty()


@pytest.mark.fuzz
@settings(deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_junk_does_nothing(packet: bytes, framed: bool) -> None:
    relay = Relay()
    header = b"\0\1" + len(packet).to_bytes(2, "big") + SESSION_CHECK[4:20]
    assert isinstance(relay.receive(header + packet if framed else packet), Drop)
    assert relay.is_empty()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A message that relays know, whole or with some octets replaced."""
    packet = bytearray(draw(st.sampled_from(MESSAGES)))
    for _ in range(draw(st.integers(0, 3))):
        at, end = sorted(draw(st.tuples(*[st.integers(0, len(packet))] * 2)))
        packet[at : min(end, at + 8)] = draw(st.binary(max_size=8))
    return bytes(packet)


@pytest.mark.fuzz
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 3), damaged()), max_size=20))
def test_no_messages_harm_the_call_of_another(messages: list[tuple[bool, int, bytes]]) -> None:
    """Checks, probes, answers and indications in any order, from other clients and from what they
    reach: nothing raises, all is bounded, and the call goes on to the same upstream."""
    relay = Relay()
    call, flows = relay.connect(credential().ufrag), relay.listener.flows
    for is_answer, client, packet in messages:
        source = (f"198.51.100.{client}", 9)
        if is_answer and source in flows:
            relay.returned(flows[source][-1], packet)
        else:
            relay.receive(packet, source)
        relay.advance(0.1)
    assert sum(map(len, flows.values())) <= 1 + 3 * FLOWS_PER_SOURCE
    assert relay.receive(RTP) is call


def junk(chance: random.Random) -> tuple[bytes, tuple[str, int]]:
    """A random packet, now and then with the start of a check, from anywhere."""
    packet = chance.randbytes(chance.randrange(200))
    kind = chance.randrange(3)
    if kind == 1:
        packet = SESSION_CHECK[:20] + packet
    elif kind == 2:
        packet = check(SESSION.ufrag[:8] + "A" * 23)[: 20 + len(packet)]
    source = (f"{chance.randrange(1, 224)}.{chance.randrange(256)}.9.9", chance.randrange(65536))
    return packet, source


def test_a_flood_of_junk_leaves_no_trace_and_moves_nobody() -> None:
    """20,000 packets from as many sources: no flow, no answer, no memory, and a call goes on."""
    relay = Relay()
    flow = relay.connect(credential().ufrag)
    chance = random.Random(5)
    relay.receive(*junk(chance))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(20_000):
        assert isinstance(relay.receive(*junk(chance)), Drop)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 20_000
    assert relay.receive(b"\x80rtp") is flow
    assert relay.listener.flows == {CLIENT: [flow]}


def test_a_credential_in_a_storm_of_addresses_opens_few() -> None:
    """A stolen one from 10,000 spoofed sources: eight flows for four seconds."""
    relay = Relay()
    outcomes = [
        relay.receive(SESSION_CHECK, (f"203.0.{number >> 8}.{number & 255}", 1))
        for number in range(10_000)
    ]
    assert sum(isinstance(each, Flow) for each in outcomes) == 8
    assert outcomes.count(Drop.UFRAG_FULL) == 9_992
    relay.advance(4)
    assert relay.is_empty()
