"""STUN as RFC 8489 writes it, by RFC 5769's vectors and by what is not STUN."""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firsthop_ice import stun
from firsthop_ice.stun import StunError, StunMessageType, build, parse, peek_username

TID = bytes(range(12))
PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt"
VECTOR_TID = bytes.fromhex("b7e7a701bc34d686fa87dfae")
# RFC 5769 §2.1 to §2.4
REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74"
    "002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf"
)
RESPONSE_V4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220"
    "002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004c07d4c96"
)
RESPONSE_V6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220"
    "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)
LONG_TERM = bytes.fromhex(
    "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe382b90000"
    "0015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410014000b6578616d706c652e"
    "6f72670000080014f67024656dd64a3e02b8e0712e85c9a28ca89666"
)

passwords = st.text(alphabet="abcXYZ019+/", min_size=1, max_size=256)
tids = st.binary(min_size=12, max_size=12)
attributes = st.lists(
    st.tuples(
        st.integers(0, 0xFFFF).filter(lambda kind: kind not in (0x0006, 0x0008, 0x8028)),
        st.binary(max_size=64),
    ),
    max_size=30,
)


def test_rfc5769_2_1_request() -> None:
    message = parse(REQUEST)
    assert (message.kind, message.transaction_id) == (StunMessageType.REQUEST, VECTOR_TID)
    assert message.get(stun.USERNAME) == b"evtj:h6vY" == peek_username(REQUEST)
    assert stun.split_username(b"evtj:h6vY") == (b"evtj", b"h6vY")
    assert message.authentic(PASSWORD)
    assert not message.authentic(PASSWORD + "x")
    assert message.fingerprinted
    assert message.not_understood == ()


@pytest.mark.parametrize(
    ("packet", "address"),
    [
        (RESPONSE_V4, IPv4Address("192.0.2.1")),
        (RESPONSE_V6, IPv6Address("2001:db8:1234:5678:11:2233:4455:6677")),
    ],
)
def test_rfc5769_2_2_and_2_3_responses(packet: bytes, address: IPv4Address | IPv6Address) -> None:
    message = parse(packet)
    assert message.kind == StunMessageType.SUCCESS
    assert message.mapped_address() == (address, 32853)
    assert message.authentic(PASSWORD)
    assert peek_username(packet) is None


def test_rfc5769_2_4_long_term_credentials() -> None:
    """No FINGERPRINT, a key of bytes, and REALM and NONCE, which this codec does not know."""
    message = parse(LONG_TERM)
    key = hashlib.md5("マトリックス:example.org:TheMatrIX".encode()).digest()
    assert message.authentic(key)
    assert not message.fingerprinted
    assert message.not_understood == (0x0015, 0x0014)


@pytest.mark.parametrize("packet", [REQUEST, RESPONSE_V4, RESPONSE_V6])
def test_no_bit_of_a_fingerprinted_message_can_turn(packet: bytes) -> None:
    """Each of its bits is under the CRC, or is the CRC, or frames it."""
    for at in range(len(packet)):
        for bit in range(8):
            turned = bytearray(packet)
            turned[at] ^= 1 << bit
            try:
                message = parse(bytes(turned))
            except StunError:
                continue
            # A FINGERPRINT renamed to something else leaves a message without one.
            assert not message.fingerprinted
            assert message.integrity_at is None or not 20 <= at < message.integrity_at


@pytest.mark.parametrize("packet", [REQUEST, RESPONSE_V6, LONG_TERM])
def test_every_truncation_is_refused(packet: bytes) -> None:
    for size in range(len(packet)):
        with pytest.raises(StunError):
            parse(packet[:size])
        peek_username(packet[:size])
    with pytest.raises(StunError):
        parse(packet + b"\0\0\0\0")


@pytest.mark.fuzz
@settings(deadline=None)
@given(st.one_of(st.binary(max_size=200), st.binary(max_size=180).map(lambda b: framed(b))))
def test_no_bytes_raise_anything_else(packet: bytes) -> None:
    """A message or a StunError; and what the message holds is bounded too."""
    peek_username(packet)
    try:
        message = parse(packet)
    except StunError:
        return
    assert peek_username(packet) in (message.get(stun.USERNAME), None) or not is_request(packet)
    message.authentic("password")
    for read in (message.mapped_address, message.error):
        try:
            read()
        except StunError:
            continue


def framed(body: bytes) -> bytes:
    """`body` behind a right header, so that the fuzzer reaches the attributes."""
    body = body[: len(body) // 4 * 4]
    return b"\0\1" + len(body).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + TID + body


def is_request(packet: bytes) -> bool:
    return packet[:2] == b"\0\1"


@settings(deadline=None)
@given(st.sampled_from(StunMessageType), tids, attributes, st.none() | passwords)
def test_what_is_built_is_parsed(
    kind: StunMessageType, tid: bytes, content: list[tuple[int, bytes]], password: str | None
) -> None:
    packet = build(kind, tid, content, password=password)
    message = parse(packet)
    assert (message.kind, message.transaction_id) == (kind, tid)
    assert [pair for pair in message.attributes if pair[0] not in (0x0008, 0x8028)] == content
    assert message.fingerprinted
    assert message.authentic(password or "") == (password is not None)


@settings(deadline=None)
@given(tids, st.text(min_size=1, max_size=60), passwords)
def test_requests_round_trip(tid: bytes, username: str, password: str) -> None:
    packet = stun.binding_request(tid, username.encode(), password)
    assert peek_username(packet) == username.encode() == parse(packet).get(stun.USERNAME)
    assert parse(packet).authentic(password)


@settings(deadline=None)
@given(tids, st.ip_addresses(), st.integers(0, 65535))
def test_addresses_round_trip(tid: bytes, host: IPv4Address | IPv6Address, port: int) -> None:
    packet = stun.binding_success(tid, (str(host), port), "password")
    assert parse(packet).mapped_address() == (host, port)
    assert len(packet) == (64 if host.version == 4 else 76)


def test_a_scoped_source_has_its_address_without_the_scope() -> None:
    packet = stun.binding_success(TID, ("fe80::1%eth0", 5), "password")
    assert parse(packet).mapped_address() == (ip_address("fe80::1"), 5)


@settings(deadline=None)
@given(st.integers(300, 699), st.text(max_size=40))
def test_errors_round_trip(code: int, phrase: str) -> None:
    packet = stun.binding_error(TID, code, phrase, "password")
    assert parse(packet).kind == StunMessageType.ERROR
    assert parse(packet).error() == (code, phrase)


@pytest.mark.parametrize("code", [0, 299, 700])
def test_no_other_error_codes_exist(code: int) -> None:
    with pytest.raises(StunError, match="from 300 to 699"):
        stun.binding_error(TID, code, "", None)


@pytest.mark.parametrize("value", [b"", b"\0\0\4", b"\0\0\2\0", b"\0\0\7\0", b"\0\0\4\x64"])
def test_malformed_error_codes_are_refused(value: bytes) -> None:
    with pytest.raises(StunError, match="ERROR-CODE"):
        parse(build(StunMessageType.ERROR, TID, [(stun.ERROR_CODE, value)])).error()


@pytest.mark.parametrize(
    "value", [b"", b"\0\1" + bytes(10), b"\0\2" + bytes(6), b"\0\3" + bytes(6)]
)
def test_malformed_addresses_are_refused(value: bytes) -> None:
    with pytest.raises(StunError, match="XOR-MAPPED-ADDRESS"):
        parse(
            build(StunMessageType.SUCCESS, TID, [(stun.XOR_MAPPED_ADDRESS, value)])
        ).mapped_address()


def test_absent_attributes_are_none() -> None:
    message = parse(build(StunMessageType.REQUEST, TID))
    assert message.get(stun.USERNAME) is None
    assert message.mapped_address() is None
    assert message.error() is None
    assert peek_username(message.packet) is None


def test_what_stands_behind_message_integrity_is_ignored() -> None:
    """RFC 8489 §14.5: only FINGERPRINT and MESSAGE-INTEGRITY-SHA256 count there."""
    signed = build(StunMessageType.REQUEST, TID, [], password="password")[:-8]
    smuggled = signed[20:] + b"\0\6\0\4evil"
    packet = framed(smuggled)
    assert parse(packet).get(stun.USERNAME) is None
    assert peek_username(packet) is None
    assert parse(packet).authentic("password")


def test_the_first_of_two_counts() -> None:
    packet = build(StunMessageType.REQUEST, TID, [(stun.USERNAME, b"one"), (stun.USERNAME, b"two")])
    assert parse(packet).get(stun.USERNAME) == b"one" == peek_username(packet)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"\0\6\0\5abcd", "does not fit"),
        (b"\0\6\0\2\xff\xfe\0\0", "not UTF-8"),
        (b"\0\x08\0\4abcd", "MESSAGE-INTEGRITY"),
        (b"\x80\x28\0\4abcd", "wrong FINGERPRINT"),
        (b"\x80\x28\0\0", "not the last"),
        (b"\x80\x28\0\4abcd\0\6\0\0", "not the last"),
        (b"\x80\x22\0\0" * 33, "more than 32"),
    ],
)
def test_malformed_attributes_are_named(body: bytes, fault: str) -> None:
    with pytest.raises(StunError, match=fault):
        parse(framed(body))


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ("0003", "not a Binding"),
        ("4001", "not a Binding"),
        ("8001", "not a Binding"),
    ],
)
def test_other_methods_are_refused(header: str, fault: str) -> None:
    with pytest.raises(StunError, match=fault):
        parse(bytes.fromhex(header) + framed(b"")[2:])


def test_bounds_of_what_can_be_built() -> None:
    with pytest.raises(StunError, match="12 bytes"):
        build(StunMessageType.REQUEST, b"short")
    with pytest.raises(StunError, match="longer"):
        build(StunMessageType.REQUEST, TID, [(0x8022, bytes(65533))])
    assert len(
        parse(build(StunMessageType.REQUEST, TID, [(0x8022, bytes(65496))], password="p")).packet
    )


def test_peek_gives_up_on_a_long_walk() -> None:
    """The relay's hot path is bounded whatever is sent."""
    assert peek_username(framed(b"\x80\x22\0\0" * 32 + b"\0\6\0\4late")) is None
    assert peek_username(framed(b"\x80\x22\0\0" * 31 + b"\0\6\0\4last")) == b"last"


@pytest.mark.parametrize(
    ("username", "parts"),
    [(b"a:b", (b"a", b"b")), (b"a:b:c", (b"a", b"b:c")), (b"a", (b"a", b"")), (b"", (b"", b""))],
)
def test_usernames_split_at_the_first_colon(username: bytes, parts: tuple[bytes, bytes]) -> None:
    assert stun.split_username(username) == parts
