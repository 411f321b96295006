"""OPT and its options: what is read, what is refused, and what another library reads of ours."""

from __future__ import annotations

import ipaddress
import struct

import dns.edns
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_dns.wire.edns import (
    BADCOOKIE,
    BADVERS,
    DO,
    FORMERR,
    MAX_OPTIONS,
    NOERROR,
    PAYLOAD,
    RCODE_NAMES,
    YXDOMAIN,
    Edns,
    Subnet,
    cookie_option,
    extended_error,
    keepalive_option,
    nsid_option,
    read_opt,
    subnet_option,
    write_opt,
)

NSID, ECS, COOKIE, KEEPALIVE, EDE, UNKNOWN = 3, 8, 10, 11, 15, 65001
CLIENT = b"\x24\x64\xc4\xab\xcf\x10\xc9\x57"
SUBNET = Subnet(1, 24, b"\xc6\x33\x64")


def option(code: int, content: bytes = b"") -> bytes:
    """One option of any content."""
    return struct.pack(">HH", code, len(content)) + content


ECS_24 = option(ECS, b"\0\1\x18\0\xc6\x33\x64")


def read(options: bytes, *, ttl: int = 0) -> Edns:
    """What an OPT record with these options says."""
    return read_opt(1232, ttl, options)


def reply_with(
    options: bytes, *, rcode: int = NOERROR, dnssec_ok: bool = False
) -> dns.message.Message:
    """A reply with our OPT record, as dnspython reads it."""
    opt = write_opt(dnssec_ok, rcode, options)
    header = struct.pack(">HH4H", 1, 0x8000 | rcode & 0xF, 0, 0, 0, 1)
    return dns.message.from_wire(header + opt)


def test_no_options_is_all_there_is_mostly() -> None:
    """Nothing is asked for that was not asked for."""
    assert read(b"") == Edns(1232, False, None, NOERROR, None, False, False)
    assert read_opt(4096, DO, b"").dnssec_ok
    assert read_opt(4096, DO, b"").payload == 4096
    assert not read_opt(4096, 0x7FFF, b"").dnssec_ok


def test_every_option_is_read_beside_the_others() -> None:
    """In any order, with unknown ones between (RFC 6891 §6.1.2)."""
    options = [option(NSID), option(COOKIE, CLIENT), option(KEEPALIVE), ECS_24]
    unknown = option(UNKNOWN, b"abcd")
    wanted = Edns(1232, False, SUBNET, NOERROR, CLIENT, True, True)
    assert read(unknown.join(options)) == wanted
    assert read(unknown.join(reversed(options)) + unknown) == wanted


def test_a_lone_client_subnet_is_read_as_any_other() -> None:
    """It has a path of its own: it is what a steered query brings."""
    assert read(ECS_24) == Edns(1232, False, SUBNET, NOERROR)
    assert read(ECS_24 + option(UNKNOWN)) == read(ECS_24)
    assert read(option(ECS)).fault == FORMERR
    assert read(ECS_24[:-1]).fault == FORMERR
    assert read(ECS_24 + b"\0").fault == FORMERR


@pytest.mark.fuzz
@given(st.binary(max_size=24), st.integers(0, 3))
def test_both_paths_agree_on_a_client_subnet(content: bytes, family: int) -> None:
    """Whatever the option holds, an unknown one behind it changes nothing."""
    for each in (content, bytes([0, family]) + content):
        assert read(option(ECS, each)) == read(option(ECS, each) + option(UNKNOWN))


def test_cookies_of_a_legal_length_are_read_whole() -> None:
    """RFC 7873 §5.2.2."""
    for length in (8, *range(16, 41)):
        cookie = bytes(range(length))
        got = read(option(COOKIE, cookie))
        assert (got.fault, got.cookie) == (NOERROR, cookie)


def test_cookies_of_another_length_are_format_errors() -> None:
    """RFC 7873 §5.2.2; the rest of OPT is there for the reply."""
    for length in (*range(8), *range(9, 16), 41, 64, 300):
        got = read(option(COOKIE, bytes(length)) + option(NSID))
        assert got == Edns(1232, False, None, FORMERR, None, True, False), length


def test_of_several_cookies_the_first_counts() -> None:
    """RFC 7873 §5.2: the others are ignored, however malformed they or it may be."""
    first = option(COOKIE, CLIENT)
    for other in (b"other678", b"short", b""):
        got = read(first + option(COOKIE, other))
        assert (got.fault, got.cookie) == (NOERROR, CLIENT)
    for malformed in (b"short", b""):
        got = read(option(COOKIE, malformed) + first)
        assert (got.fault, got.cookie) == (FORMERR, None)


def test_a_fault_in_one_option_leaves_the_cookie() -> None:
    """A client that sends one may discard a reply without it (RFC 7873 §5.3)."""
    malformed = option(ECS, b"\0\1\x14\0\xc0\0\x1f")
    for options in (malformed + option(COOKIE, CLIENT), option(COOKIE, CLIENT) + malformed):
        assert read(options) == Edns(1232, False, None, FORMERR, CLIENT)
    cut = option(COOKIE, CLIENT) + b"\0\x08\0"
    assert read(cut) == Edns(1232, False, None, FORMERR, CLIENT)


def test_two_client_subnets_are_a_format_error() -> None:
    """Nobody could say which one the answer is for, and neither is echoed."""
    malformed = option(ECS, b"\0\1\x18")
    for options in (ECS_24 * 2, ECS_24 + malformed, malformed + ECS_24):
        got = read(options)
        assert (got.fault, got.subnet) == (FORMERR, None)


@pytest.mark.parametrize("content", [b"", b"\0\0", b"\0\x64", b"x", b"xxx"])
def test_keepalive_and_nsid_are_asked_for_by_being_there(content: bytes) -> None:
    """What a query puts in is no error of these options (RFC 5001 §2.2, RFC 7828 §3.3.1)."""
    assert read(option(KEEPALIVE, content)) == Edns(1232, False, None, NOERROR, keepalive=True)
    assert read(option(NSID, content)) == Edns(1232, False, None, NOERROR, nsid=True)


def test_a_later_version_hides_the_options() -> None:
    """RFC 6891 §6.1.3: they may mean something else there."""
    options = option(COOKIE, CLIENT) + ECS_24 + b"junk"
    assert read(options, ttl=1 << 16 | DO) == Edns(1232, True, None, BADVERS)
    assert read(options, ttl=0xFF << 16).fault == BADVERS
    assert read(ECS_24, ttl=0xFF << 24).fault == NOERROR  # upper bits of an rcode, not of a version


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(b"\0", id="an octet"),
        pytest.param(b"\0\x03\0", id="head cut"),
        pytest.param(option(NSID) + b"\0\x03\0", id="second head cut"),
        pytest.param(b"\0\x0a\0\x09" + CLIENT, id="longer than RDLEN"),
        pytest.param(b"\xff" * 4, id="longest"),
        pytest.param(option(UNKNOWN) * (MAX_OPTIONS + 1), id="too many"),
    ],
)
def test_options_that_do_not_fill_the_record_are_format_errors(options: bytes) -> None:
    """Each has a head and what it counts, up to the last octet."""
    assert read(options).fault == FORMERR


def test_as_many_options_as_bounded_are_read() -> None:
    """The bound is far above what anybody sends."""
    assert read(option(UNKNOWN) * (MAX_OPTIONS - 1) + option(NSID)).nsid


OPTIONS = st.lists(
    st.tuples(
        st.sampled_from((NSID, ECS, COOKIE, KEEPALIVE, EDE, UNKNOWN)), st.binary(max_size=45)
    ),
    max_size=8,
)


@pytest.mark.fuzz
@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.binary(max_size=120))
def test_no_octets_make_it_raise(payload: int, ttl: int, options: bytes) -> None:
    """And every result keeps the promises of its type."""
    hold(read_opt(payload, ttl, options), options)


@pytest.mark.fuzz
@given(OPTIONS, st.binary(max_size=3))
def test_no_options_make_it_raise(options: list[tuple[int, bytes]], tail: bytes) -> None:
    """Known codes with any content, and perhaps a torn end."""
    octets = b"".join(option(*each) for each in options) + tail
    hold(read(octets), octets)


def hold(got: Edns, options: bytes) -> None:
    """What is promised of any OPT record."""
    assert got.fault in (NOERROR, FORMERR, BADVERS)
    assert got.subnet is None or got.fault == NOERROR
    if got.subnet is not None:
        assert len(got.subnet.address) == (got.subnet.source + 7) // 8
        assert got.subnet.address in options
    if got.cookie is not None:
        assert len(got.cookie) == 8 or 16 <= len(got.cookie) <= 40
        assert got.cookie in options


@st.composite
def networks(draw: st.DrawFn) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """A network of either family, host bits zero."""
    kind = draw(st.sampled_from((ipaddress.IPv4Network, ipaddress.IPv6Network)))
    bits = 32 if kind is ipaddress.IPv4Network else 128
    address = draw(st.integers(0, 2**bits - 1))
    return kind((address, draw(st.integers(0, bits))), strict=False)


@given(networks(), st.none() | st.binary(max_size=32), st.booleans(), st.booleans(), st.booleans())
def test_what_another_library_writes_is_read(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network,
    server: bytes | None,
    nsid: bool,
    padded: bool,
    dnssec_ok: bool,
) -> None:
    """dnspython's options, whole."""
    options: list[dns.edns.Option] = []
    subnet = dns.edns.ECSOption(str(network.network_address), network.prefixlen, 0)
    options.append(subnet)
    whole = None
    if server is not None and len(server) >= 8:
        whole = CLIENT + server
        options.append(dns.edns.CookieOption(CLIENT, server))
    if nsid:
        options.append(dns.edns.NSIDOption(b""))
    if padded:
        options.append(dns.edns.GenericOption(12, bytes(7)))
    rdata = b"".join(option(int(each.otype), each.to_wire()) for each in options)
    got = read_opt(4096, DO if dnssec_ok else 0, rdata)
    address = network.network_address.packed[: (network.prefixlen + 7) // 8]
    family = 1 if network.version == 4 else 2
    asked = Subnet(family, network.prefixlen, address)
    assert got == Edns(4096, dnssec_ok, asked, NOERROR, whole, nsid, False)


@pytest.mark.fuzz
@given(networks(), st.integers(0, 128), st.binary(min_size=16, max_size=40), st.binary(max_size=80))
def test_another_library_reads_what_is_written(
    network: ipaddress.IPv4Network | ipaddress.IPv6Network,
    scope: int,
    cookie: bytes,
    nsid: bytes,
) -> None:
    """All options of one reply, in the order of replies."""
    scope = min(scope, network.max_prefixlen)
    address = network.network_address.packed[: (network.prefixlen + 7) // 8]
    subnet = Subnet(1 if network.version == 4 else 2, network.prefixlen, address)
    reply = reply_with(
        extended_error(18, "no transfer")
        + nsid_option(nsid)
        + cookie_option(cookie)
        + keepalive_option(10.0)
        + subnet_option(subnet, scope),
        dnssec_ok=True,
    )
    error, name, baked, alive, echoed = reply.options
    assert isinstance(error, dns.edns.EDEOption)
    assert (error.code, error.text) == (18, "no transfer")
    assert isinstance(name, dns.edns.NSIDOption)
    assert name.nsid == nsid
    assert isinstance(baked, dns.edns.CookieOption)
    assert baked.client + baked.server == cookie
    assert (alive.otype, alive.to_wire()) == (KEEPALIVE, b"\x00\x64")
    assert isinstance(echoed, dns.edns.ECSOption)
    assert ipaddress.ip_address(echoed.address) == network.network_address
    assert (echoed.srclen, echoed.scopelen) == (network.prefixlen, scope)
    assert (reply.edns, reply.payload, reply.ednsflags) == (0, PAYLOAD, DO)


def test_the_client_subnet_goes_back_octet_for_octet() -> None:
    """Scope is the fourth octet of an option that is otherwise as it came (RFC 7871 §7.2.1)."""
    assert subnet_option(SUBNET, 0) == ECS_24
    assert subnet_option(SUBNET, 22) == option(ECS, b"\0\1\x18\x16\xc6\x33\x64")
    assert subnet_option(Subnet(0, 0, b""), 0) == option(ECS, bytes(4))


@pytest.mark.parametrize(
    ("idle_s", "tenths"),
    [(0.0, 0), (0.3, 3), (10.0, 100), (6553.5, 65535), (1e9, 65535), (-1.0, 0)],
)
def test_keepalive_counts_tenths_of_a_second(idle_s: float, tenths: int) -> None:
    """RFC 7828 §3.1: units of 100 ms in two octets."""
    assert keepalive_option(idle_s) == option(KEEPALIVE, tenths.to_bytes(2, "big"))


def test_extended_errors_carry_text_in_utf8() -> None:
    """RFC 8914 §2: a code, and a text that may be empty."""
    assert extended_error(20) == option(EDE, b"\0\x14")
    assert extended_error(20, "ünï") == option(EDE, b"\0\x14" + "ünï".encode())


def test_rcodes_above_fifteen_are_split_between_header_and_opt() -> None:
    """RFC 6891 §6.1.3: the upper eight bits stand in OPT."""
    for rcode, name in ((BADVERS, "BADVERS"), (BADCOOKIE, "BADCOOKIE"), (YXDOMAIN, "YXDOMAIN")):
        assert dns.rcode.to_text(reply_with(b"", rcode=rcode).rcode()) == name
        assert RCODE_NAMES[rcode] == name
    assert write_opt(False, NOERROR, b"") == b"\0\0\x29" + struct.pack(">HIH", PAYLOAD, 0, 0)
