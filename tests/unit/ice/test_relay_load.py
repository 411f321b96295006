"""A relay's load in the answer to a probe: what is asked, read, and not believed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_ice.relay_load import (
    RELAY_LOAD,
    NoLoad,
    RelayLoad,
    load_attribute,
    load_request,
    read_load,
)
from firsthop_ice.stun import (
    MESSAGE_INTEGRITY,
    StunMessageType,
    binding_error,
    binding_success,
    build,
    parse,
    split_username,
)
from firsthop_ice.ufrag import (
    LOAD_READER,
    PROBE_REGION,
    CredentialKeys,
    Decoded,
    RouteKeys,
    decode,
    mint_probe,
    probe_password,
)

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
KEYS = CredentialKeys(5, RouteKeys({5: b"\5" * 32}), {5: b"\x45" * 32})
TID = bytes(range(12))
SOURCE = ("198.51.100.7", 40000)
PASSWORD = "of the probe"


def answer(*attributes: tuple[int, bytes], password: str = PASSWORD) -> bytes:
    return binding_success(TID, SOURCE, password, attributes)


def test_a_request_asks_with_a_credential_that_may() -> None:
    """An empty attribute under MESSAGE-INTEGRITY; the ufrag says who may be told."""
    credential = mint_probe(
        KEYS, expires_at=NOW + timedelta(minutes=5), entropy=b"entropy", reads_load=True
    )
    packet = load_request(TID, credential)
    request = parse(packet)
    assert (request.kind, request.transaction_id, len(packet)) == (StunMessageType.REQUEST, TID, 96)
    assert request.get(RELAY_LOAD) == b""
    assert request.fingerprinted
    assert request.authentic(probe_password(credential.ufrag, KEYS.routes.by_id[5]))
    ufrag, _ = split_username(request.get(6) or b"")
    decoded = decode(ufrag, KEYS.routes, now=NOW)
    assert isinstance(decoded, Decoded)
    assert (decoded.region, decoded.transceiver) == (PROBE_REGION, LOAD_READER)


def test_other_probes_may_not() -> None:
    """Those of probers, and of browsers that hold a ticket."""
    credential = mint_probe(KEYS, expires_at=NOW + timedelta(minutes=5), entropy=b"entropy")
    decoded = decode(credential.ufrag, KEYS.routes, now=NOW)
    assert isinstance(decoded, Decoded)
    assert (decoded.region, decoded.transceiver) == (PROBE_REGION, 0)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_what_a_relay_says_is_read(sessions: int, draining: bool) -> None:
    load = RelayLoad(sessions, draining)
    packet = answer(load_attribute(load))
    assert read_load(packet, PASSWORD) == load
    assert len(packet) == 76
    assert len(binding_success(TID, ("2001:db8::7", 1), PASSWORD, [load_attribute(load)])) == 88


def test_a_number_that_does_not_fit_is_the_largest_that_does() -> None:
    said = read_load(answer(load_attribute(RelayLoad(2**40, draining=False))), PASSWORD)
    assert said == RelayLoad(2**32 - 1, draining=False)


def test_what_later_releases_add_is_passed_over() -> None:
    """More flags, more octets."""
    value = (7).to_bytes(4, "big") + b"\xff\xff\xff\xff" + b"more"
    assert read_load(answer((RELAY_LOAD, value)), PASSWORD) == RelayLoad(7, draining=True)
    value = (7).to_bytes(4, "big") + b"\xff\xff\xff\xfe"
    assert read_load(answer((RELAY_LOAD, value)), PASSWORD) == RelayLoad(7, draining=False)


LOAD = load_attribute(RelayLoad(7, draining=False))


def appended(packet: bytes, attribute: tuple[int, bytes]) -> bytes:
    """`packet` with an attribute behind its MESSAGE-INTEGRITY, and no FINGERPRINT."""
    kind, value = attribute
    packet = packet[:-8] + kind.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value
    return packet[:2] + (len(packet) - 20).to_bytes(2, "big") + packet[4:]


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"", "not_stun"),
        (answer(LOAD)[:-1], "not_stun"),
        (b"\x80" * 76, "not_stun"),
        (answer(LOAD, password="of somebody"), "integrity"),
        (build(StunMessageType.SUCCESS, TID, [LOAD]), "integrity"),
        (binding_error(TID, 401, "Unauthenticated", None), "integrity"),
        (binding_error(TID, 400, "Bad Request", PASSWORD), "refused"),
        (build(StunMessageType.REQUEST, TID, [LOAD], password=PASSWORD), "refused"),
        (answer(), "no_load"),
        (appended(answer(), LOAD), "no_load"),
        (answer((RELAY_LOAD, bytes(7))), "malformed"),
        (answer((RELAY_LOAD, b"")), "malformed"),
    ],
)
def test_what_says_nothing_of_load_says_why(packet: bytes, reason: str) -> None:
    assert read_load(packet, PASSWORD) == NoLoad(reason)  # type: ignore[arg-type]


@pytest.mark.fuzz
@given(st.integers(0, 76 * 8 - 1))
def test_no_turned_bit_is_another_load(bit: int) -> None:
    packet = bytearray(answer(LOAD))
    packet[bit // 8] ^= 1 << bit % 8
    said = read_load(bytes(packet), PASSWORD)
    assert isinstance(said, NoLoad) or said == RelayLoad(7, draining=False)


@pytest.mark.fuzz
@given(st.binary(max_size=200), st.booleans())
def test_junk_says_nothing(junk: bytes, framed: bool) -> None:
    header = b"\1\1" + len(junk).to_bytes(2, "big") + answer()[4:20]
    assert isinstance(read_load(header + junk if framed else junk, PASSWORD), NoLoad)


def test_the_load_stands_before_what_makes_it_authentic() -> None:
    """So that its MESSAGE-INTEGRITY covers it."""
    kinds = [kind for kind, _ in parse(answer(LOAD)).attributes]
    assert kinds.index(RELAY_LOAD) < kinds.index(MESSAGE_INTEGRITY)
