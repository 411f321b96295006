"""Whom proxies speak for, and that nobody else can."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from firsthop_allocator.allocations.addresses import parse_host, plain
from firsthop_allocator.http.forwarded import MAX_FIELD_LENGTH, MAX_HOPS, Malformed, client_behind

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("2001:db8:f::/48"))
PROXY, STRANGER = ip_address("10.0.0.1"), ip_address("203.0.113.66")


def seen(
    *x_forwarded_for: str, forwarded: tuple[str, ...] = (), peer: str = "10.0.0.1"
) -> tuple[str, str]:
    """Address and source, or ("", rule)."""
    found = client_behind(
        ip_address(peer), forwarded=forwarded, x_forwarded_for=x_forwarded_for, trusted=TRUSTED
    )
    return ("", found.rule) if isinstance(found, Malformed) else (str(found[0]), found[1])


def test_a_stranger_cannot_say_who_it_is() -> None:
    """Without a trusted peer both fields are as if they were not there, garbage included."""
    assert seen("198.51.100.1", peer="203.0.113.66") == ("203.0.113.66", "peer")
    assert seen("\x00", forwarded=('for="',), peer="203.0.113.66") == ("203.0.113.66", "peer")


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        (["198.51.100.1"], "198.51.100.1"),
        (["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        (["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        (["198.51.100.1, 10.9.9.9,10.0.0.7"], "198.51.100.1"),
        (["evil\x07, 198.51.100.1"], "198.51.100.1"),
        (["198.51.100.1:4711"], "198.51.100.1"),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["2001:db8::1"], "2001:db8::1"),
        (["::ffff:198.51.100.1"], "198.51.100.1"),
        (["198.51.100.1, ::ffff:10.0.0.3"], "198.51.100.1"),
        ([" , 198.51.100.1 ,, "], "198.51.100.1"),
        (["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
    ],
)
def test_the_rightmost_hop_that_is_not_ours_is_the_client(lines: list[str], address: str) -> None:
    """What stands left of it is a claim, whatever it looks like."""
    assert seen(*lines) == (address, "x-forwarded-for")


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("for=198.51.100.1", "198.51.100.1"),
        ('FOR="198.51.100.1:4711";proto=https;by=10.0.0.1', "198.51.100.1"),
        ('for="[2001:db8::1]:4711"', "2001:db8::1"),
        ('for=9.9.9.9, for="[2001:db8::1]"', "2001:db8::1"),
        ("for=198.51.100.1;;proto=http , for=10.3.3.3", "198.51.100.1"),
        ('for="198.51.10\\0.1"', "198.51.100.1"),
        ('for=1.1.1.1;ext=", for=2.2.2.2", for=198.51.100.1', "198.51.100.1"),
        ("for=unknown, for=198.51.100.1", "198.51.100.1"),
    ],
)
def test_forwarded_is_read_as_rfc_7239_writes_it(line: str, address: str) -> None:
    """Quoted strings, parameters in any order and case, lists."""
    assert seen(forwarded=(line,)) == (address, "forwarded")


@pytest.mark.parametrize(
    "line",
    [
        "unknown", "_hidden", "198.51.100.1.2", "198.51.100.256", "1.2.3", "0x7f.1", "017.0.0.1",
        "fe80::1%eth0", "[fe80::1%25eth0]", "198.51.100.1 evil", "[198.51.100.1]", "[::1",
        "198.51.100.1:999999", "١٩٨.51.100.1", "1９8.51.100.1", "198.51.100.0/24", "0.0.0.0",
        "::", "224.0.0.1", "ff02::1", "::ffff:0.0.0.0", "localhost", "-", "1.1.1.1;2.2.2.2",
    ],
)  # fmt: skip
def test_an_entry_that_counts_must_be_an_address(line: str) -> None:
    """The proxy's own entry is garbage: refused, never skipped to the next claim."""
    assert seen(f"198.51.100.1, {line}")[0] == ""


@pytest.mark.parametrize(
    "line",
    [
        'for="198.51.100.1', "for=198.51.100.1:80", "for=[2001:db8::1]", "for", "=198.51.100.1",
        "for=198.51.100.1;for=198.51.100.2", "for=1.1.1.1 for=198.51.100.1", "for = 198.51.100.1",
        'for="1.1.1.1", for="198.51.100.1', 'for="a"b', "proto=https", "for=198.51.100.1\x00",
        'for="\x7f"', "for=198.51.100.1, proto=http",
    ],
)  # fmt: skip
def test_a_broken_forwarded_field_is_refused(line: str) -> None:
    """Grammar that two readers could read in two ways, and elements that say nothing."""
    assert seen(forwarded=(line,))[0] == ""


def test_a_clients_own_field_beside_the_proxys_is_refused() -> None:
    """Proxies write one of the two and pass on the other: where they differ, one is forged."""
    assert seen("198.51.100.1", forwarded=("for=1.1.1.1",))[0] == ""
    assert seen("198.51.100.1", forwarded=("for=198.51.100.1",))[0] == "198.51.100.1"


def test_open_quotes_cannot_swallow_the_proxys_entry() -> None:
    """A client's unclosed quote in front of what the proxy appends breaks the field."""
    for opening in ('for=1.1.1.1;x="', 'for="1.1.1.1', 'x="\\'):
        for appended in ("for=198.51.100.1", 'for="[2001:db8::1]"', 'for="198.51.100.1";by="x"'):
            assert seen(forwarded=(f"{opening}, {appended}",))[0] == ""


def test_chains_are_bounded() -> None:
    """Neither a loop of proxies nor a field of megabytes is followed."""
    assert seen(", ".join(["10.0.0.1"] * MAX_HOPS))[0] == ""
    assert seen("198.51.100.1", *["10.0.0.1"] * (MAX_HOPS - 1))[0] == "198.51.100.1"
    assert seen("," * MAX_FIELD_LENGTH + "198.51.100.1")[0] == ""
    assert seen(forwarded=(";" * MAX_FIELD_LENGTH + "for=198.51.100.1",))[0] == ""


def test_no_field_or_an_empty_one_leaves_the_peer() -> None:
    """A trusted proxy that asks for itself."""
    assert seen() == ("10.0.0.1", "peer")
    assert seen("", forwarded=("",)) == ("10.0.0.1", "peer")


LINES = st.lists(
    st.text(st.sampled_from('for=",;:.[]_ \t\\%0123456789abcdef\x00\udcff\xff')), max_size=3
)


@pytest.mark.fuzz
@given(forwarded=LINES, x_forwarded_for=LINES)
@example(forwarded=['for="' + '\\"' * 4000], x_forwarded_for=[])
def test_nothing_breaks_the_reader(forwarded: list[str], x_forwarded_for: list[str]) -> None:
    """Any text gives an address or a refusal; from strangers always their own address."""
    for peer in (PROXY, STRANGER):
        found = client_behind(
            peer, forwarded=forwarded, x_forwarded_for=x_forwarded_for, trusted=TRUSTED
        )
        assert isinstance(found, (tuple, Malformed))
    assert found == (STRANGER, "peer")


PUBLIC = st.one_of(
    st.integers(0x0B000000, 0xDFFFFFFF).map(IPv4Address),
    st.integers(0x2600 << 112, (0x2601 << 112) - 1).map(IPv6Address),
)


@pytest.mark.fuzz
@given(client=PUBLIC, proxies=st.lists(st.integers(0, 2**24 - 1), max_size=5), claims=LINES)
def test_a_client_cannot_move_itself(
    client: IPv4Address, proxies: list[int], claims: list[str]
) -> None:
    """Whatever a client writes, honest proxies append what they saw, and that is found."""
    chain = [*claims, str(client), *(str(IPv4Address(10 << 24 | each)) for each in proxies)]
    assert seen(*chain) == (str(client), "x-forwarded-for")


@pytest.mark.fuzz
@given(st.text(max_size=60))
def test_hosts_are_parsed_or_refused(text: str) -> None:
    """What is accepted is a plain unicast address."""
    try:
        address = parse_host(text)
    except ValueError:
        return
    assert plain(address) == address
    assert not address.is_multicast
    assert int(address)


def test_scope_ids_and_disguises_are_taken_off_peers() -> None:
    """A socket's own words, unlike a caller's, may carry both."""
    assert plain(ip_address("fe80::1%eth0")) == IPv6Address("fe80::1")
    assert plain(ip_address("::ffff:192.0.2.1")) == IPv4Address("192.0.2.1")
