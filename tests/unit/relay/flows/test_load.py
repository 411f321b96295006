"""Who is told how many sessions a relay carries, and who is not."""

from __future__ import annotations

import zlib
from datetime import timedelta

import pytest

from firsthop_ice.relay_load import RELAY_LOAD, NoLoad, RelayLoad, load_request, read_load
from firsthop_ice.stun import parse
from firsthop_ice.ufrag import CredentialKeys, mint_probe
from firsthop_relay.flows.drops import Drop
from support.relay_world import CLIENT, KEYSET, PROBE, WALL, Relay, check, credential

READER = mint_probe(
    CredentialKeys.from_keyset(KEYSET),
    expires_at=WALL + timedelta(minutes=5),
    entropy=b"entropy",
    reads_load=True,
)
ASKED = load_request(bytes(range(12)), READER)
NOT_TOLD = NoLoad("no_load")


def test_a_reader_is_told_of_the_whole_relay() -> None:
    """The flows here by session, those of its other processes, and whether it drains."""
    relay = Relay()
    first, second = credential().ufrag, credential().ufrag
    relay.connect(first, ("198.51.100.1", 1))
    relay.connect(first, ("198.51.100.1", 2))
    relay.connect(second, ("198.51.100.2", 1))
    relay.open(credential().ufrag, ("198.51.100.3", 1))
    told = relay.receive(ASKED)
    assert isinstance(told, bytes)
    assert read_load(told, READER.password) == RelayLoad(2, draining=False)
    relay.table.sessions_elsewhere = 40
    relay.table.draining = True
    told = relay.receive(ASKED)
    assert isinstance(told, bytes)
    assert read_load(told, READER.password) == RelayLoad(42, draining=True)
    assert parse(told).transaction_id == bytes(range(12))


def test_who_does_not_ask_sees_no_change() -> None:
    """Bit for bit the answer of an earlier release."""
    answer = Relay().receive(check(READER.ufrag, READER.password, transaction_id=bytes(12)))
    assert isinstance(answer, bytes)
    assert len(answer) == 64
    assert read_load(answer, READER.password) == NOT_TOLD


def test_a_prober_or_a_browser_with_a_ticket_is_not_told() -> None:
    """Their probes are answered as ever, whatever they ask."""
    packet = check(PROBE.ufrag, PROBE.password, attributes=[(RELAY_LOAD, b"")])
    answer = Relay().receive(packet)
    assert isinstance(answer, bytes)
    assert len(answer) == 64
    assert read_load(answer, PROBE.password) == NOT_TOLD


def test_a_session_is_not_told() -> None:
    """Its checks go to its transceiver, with whatever is in them."""
    relay = Relay()
    packet = check(credential().ufrag, attributes=[(RELAY_LOAD, b"")])
    assert not isinstance(relay.receive(packet), bytes | Drop)


@pytest.mark.parametrize("value", [b"", bytes(8), b"x" * 100])
@pytest.mark.parametrize("source", [CLIENT, ("2001:db8::7", 40000, 0, 0)])
@pytest.mark.parametrize("sender", [b"", b":edge"])
def test_the_answer_is_shorter_than_the_question(
    value: bytes, source: tuple[str, int], sender: bytes
) -> None:
    """Whatever stands in the question's attribute."""
    packet = check(READER.ufrag, READER.password, sender=sender, attributes=[(RELAY_LOAD, value)])
    answer = Relay().receive(packet, source)
    assert isinstance(answer, bytes)
    assert len(answer) < len(packet)
    assert isinstance(read_load(answer, READER.password), RelayLoad)


def test_what_is_not_signed_is_not_asked() -> None:
    """An attribute behind MESSAGE-INTEGRITY may be anybody's."""
    packet = check(READER.ufrag, READER.password)[:-8] + RELAY_LOAD.to_bytes(2, "big") + bytes(2)
    packet = packet[:2] + (len(packet) + 8 - 20).to_bytes(2, "big") + packet[4:]
    fingerprint = (zlib.crc32(packet) ^ 0x5354554E).to_bytes(4, "big")  # RFC 8489 §14.7
    answer = Relay().receive(packet + b"\x80\x28\0\4" + fingerprint)
    assert isinstance(answer, bytes)
    assert read_load(answer, READER.password) == NOT_TOLD


def test_no_question_with_a_turned_bit_is_answered() -> None:
    relay = Relay()
    for bit in range(len(ASKED) * 8):
        packet = bytearray(ASKED)
        packet[bit // 8] ^= 1 << bit % 8
        assert isinstance(relay.receive(bytes(packet)), Drop), bit
    assert relay.is_empty()
