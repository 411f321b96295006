"""The relay's one answer, and its silence to everything else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firsthop_relay.counters import Counters
from firsthop_relay.responder import Drop, handle
from firsthop_steering import stun
from firsthop_steering.snapshot import CredentialKey, KeySet
from firsthop_steering.stun import USERNAME, Kind, build, parse
from firsthop_steering.ufrag import (
    CredentialKeys,
    RouteKeys,
    mint,
    mint_probe_credential,
    probe_password,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEYSET = KeySet(
    number=1,
    lineage="test",
    created_at=NOW,
    signing=5,
    keys=(CredentialKey(id=5, route="05" * 32, password="45" * 32, created_at=NOW),),
)
KEYS = RouteKeys.from_keyset(KEYSET)
PROBE = mint_probe_credential(KEYSET, now=NOW, entropy=b"entropy")
SESSION = mint(
    CredentialKeys.from_keyset(KEYSET),
    region=7,
    expires_at=NOW + timedelta(hours=1),
    entropy=b"entropy",
)
TID = bytes(range(12))
SOURCE = ("198.51.100.7", 40000)


def request(
    ufrag: str = PROBE.ufrag,
    password: str = PROBE.password,
    *,
    sender: bytes = b":peer",
    attributes: list[tuple[int, bytes]] | None = None,
) -> bytes:
    username = (USERNAME, ufrag.encode() + sender)
    return build(Kind.REQUEST, TID, [username, *(attributes or [])], password=password)


@pytest.mark.parametrize("source", [SOURCE, ("2001:db8::7", 40000)])
@pytest.mark.parametrize("sender", [b":peer", b"", b":a:b", b":" + b"x" * 200])
def test_an_authenticated_probe_is_answered(source: tuple[str, int], sender: bytes) -> None:
    """With its transaction id, where it came from, signed, and never with more bytes."""
    packet = request(sender=sender)
    answer = handle(packet, source, KEYS, NOW)
    assert isinstance(answer, bytes)
    message = parse(answer)
    assert (message.kind, message.transaction_id) == (Kind.SUCCESS, TID)
    address = message.mapped_address()
    assert address is not None
    assert (str(address[0]), address[1]) == source
    assert message.authentic(PROBE.password)
    assert message.fingerprinted
    assert len(answer) <= 0.87 * len(packet)


def test_what_ice_agents_add_is_understood() -> None:
    """PRIORITY, USE-CANDIDATE, ICE-CONTROLLING, and unknown optional attributes."""
    extra = [(0x0024, bytes(4)), (0x0025, b""), (0x802A, bytes(8)), (0xC057, b"net")]
    assert isinstance(handle(request(attributes=extra), SOURCE, KEYS, NOW), bytes)


def without_fingerprint() -> bytes:
    packet = request()[:-8]
    return packet[:2] + (len(packet) - 20).to_bytes(2, "big") + packet[4:]


def resigned(ufrag: str) -> str:
    """The password that a relay would derive, tag or no tag."""
    return probe_password(ufrag, KEYS.by_id[5])


FORGED = PROBE.ufrag[:-2] + ("A" if PROBE.ufrag[-2] != "A" else "E") + PROBE.ufrag[-1]
DROPS = [
    (b"", Drop.NOT_A_CHECK),
    (b"\x80" * 172, Drop.NOT_A_CHECK),
    (stun.binding_success(TID, SOURCE, PROBE.password), Drop.NOT_A_CHECK),
    (build(Kind.REQUEST, TID), Drop.NOT_A_CHECK),
    (build(Kind.INDICATION, TID, [(USERNAME, PROBE.ufrag.encode())]), Drop.NOT_A_CHECK),
    (request("short"), Drop.UFRAG_LENGTH),
    (request("-" * 31), Drop.UFRAG_ALPHABET),
    (request("A" * 30 + "B"), Drop.UFRAG_NOT_CANONICAL),
    (request("/" + "A" * 30), Drop.UFRAG_VERSION),
    (request("A" * 31), Drop.UFRAG_UNKNOWN_KEY),
    (request(FORGED, resigned(FORGED)), Drop.UFRAG_TAG),
    (request(SESSION.ufrag, SESSION.password), Drop.NO_ROUTE),
    (request(SESSION.ufrag, resigned(SESSION.ufrag)), Drop.NO_ROUTE),
    (request() + b"\0\0\0\0", Drop.MALFORMED),
    (request()[:-1], Drop.MALFORMED),
    (request()[:-4] + b"\0\0\0\0", Drop.MALFORMED),
    (without_fingerprint(), Drop.NO_FINGERPRINT),
    (request(password="wrong"), Drop.INTEGRITY),
    (build(Kind.REQUEST, TID, [(USERNAME, PROBE.ufrag.encode())]), Drop.INTEGRITY),
    (request(attributes=[(0x0030, b"")]), Drop.NOT_UNDERSTOOD),
]


@pytest.mark.parametrize(("packet", "reason"), DROPS)
def test_everything_else_is_dropped_for_its_reason(packet: bytes, reason: Drop) -> None:
    assert handle(packet, SOURCE, KEYS, NOW) is reason


def test_every_reason_of_the_responder_has_a_case() -> None:
    tested = {reason for _, reason in DROPS} | {Drop.UFRAG_EXPIRED, Drop.SEND}
    assert tested == set(Drop)


def test_an_expired_probe_is_dropped() -> None:
    assert handle(request(), SOURCE, KEYS, PROBE.expires_at) is Drop.UFRAG_EXPIRED


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_junk_is_never_answered(packet: bytes) -> None:
    assert isinstance(handle(packet, SOURCE, KEYS, NOW), Drop)


@settings(deadline=None)
@given(st.integers(0, len(request()) - 1), st.integers(1, 255))
def test_a_changed_probe_is_never_answered(at: int, change: int) -> None:
    """No byte of an authenticated request can be another one."""
    packet = bytearray(request())
    packet[at] ^= change
    assert isinstance(handle(bytes(packet), SOURCE, KEYS, NOW), Drop)


@pytest.mark.parametrize("size", range(len(request())))
def test_a_cut_probe_is_never_answered(size: int) -> None:
    assert isinstance(handle(request()[:size], SOURCE, KEYS, NOW), Drop)


@settings(deadline=None)
@given(st.lists(st.sampled_from([request(), *(packet for packet, _ in DROPS)])))
def test_counters_add_up(packets: list[bytes]) -> None:
    """Received is answered plus dropped, in the values and in what is exported."""
    counters = Counters()
    for packet in packets:
        counters.received(packet)
        outcome = handle(packet, SOURCE, KEYS, NOW)
        if isinstance(outcome, bytes):
            counters.answered(outcome)
        else:
            counters.drop(outcome)
    assert counters.packets_received == len(packets)
    assert counters.packets_received == counters.packets_answered + sum(counters.dropped.values())
    assert counters.bytes_answered <= counters.bytes_received
    samples = [sample for family in counters.collect() for sample in family.samples]
    values = {(sample.name, *sample.labels.values()): sample.value for sample in samples}
    assert values["firsthop_relay_packets_received_total",] == len(packets)
    reasons = {name[1] for name in values if name[0] == "firsthop_relay_packets_dropped_total"}
    assert reasons == {reason.value for reason in Drop}
