"""Keys, embedded IPv4 and the arithmetic of widest blocks."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_geodata.addresses import EMBEDDED_V4, normalise, prefix_length


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.0.0.0", (4, 0, 0)),
        ("192.0.2.1", (4, 0xC0000201, 0)),
        ("255.255.255.255", (4, 0xFFFFFFFF, 0)),
        ("::ffff:192.0.2.1", (4, 0xC0000201, 96)),
        ("64:ff9b::192.0.2.1", (4, 0xC0000201, 96)),
        ("2002:c000:201::1", (4, 0xC0000201, 16)),
        ("2002:c000:201:ffff:ffff:ffff:ffff:ffff", (4, 0xC0000201, 16)),
        ("2003::", (6, 0x2003 << 48, 0)),
        ("2001:db8:1:2:3:4:5:6", (6, 0x20010DB800010002, 0)),
        ("::192.0.2.1", (6, 0, 17)),
        ("64:ff9b:1::192.0.2.1", (6, 0x0064FF9B00010000, 0)),
        ("::fffe:192.0.2.1", (6, 0, 32)),
        ("ffff::", (6, 0xFFFF << 48, 0)),
    ],
)
def test_every_form_has_its_key(text: str, expected: tuple[int, int, int]) -> None:
    """v4-mapped, NAT64 and 6to4 addresses are the IPv4 address inside; their neighbours are not."""
    assert normalise(ip_address(text)) == expected


@given(st.integers(0, 2**32 - 1))
def test_every_embedding_of_an_address_has_the_key_of_the_address(value: int) -> None:
    """A client is the same client in each of the three forms."""
    key = normalise(IPv4Address(value))[:2]
    for text in (f"::ffff:{IPv4Address(value)}", f"64:ff9b::{IPv4Address(value)}"):
        assert normalise(ip_address(text))[:2] == key
    assert normalise(IPv6Address(0x2002 << 112 | value << 80 | 7))[:2] == key


@given(st.data(), st.sampled_from([4, 8]))
def test_prefix_length_is_the_widest_block_in_the_range(data: st.DataObject, bits: int) -> None:
    """Compared with trying every prefix length in a small address space."""
    first = data.draw(st.integers(0, 2**bits - 1))
    last = data.draw(st.integers(first, 2**bits - 1))
    value = data.draw(st.integers(first, last))
    for length in range(bits + 1):
        low = value >> (bits - length) << (bits - length)
        if low >= first and low + 2 ** (bits - length) - 1 <= last:
            break
    assert prefix_length(value, first, last, bits) == length


def test_the_embedded_blocks_are_those_normalise_answers_as_ipv4() -> None:
    """The list callers cut scopes by agrees with normalise at both ends of every block."""
    for first, last in EMBEDDED_V4:
        assert normalise(IPv6Address(first))[0] == normalise(IPv6Address(last))[0] == 4
        assert normalise(IPv6Address(first - 1))[0] == normalise(IPv6Address(last + 1))[0] == 6
    blocks = [ip_network("::ffff:0:0/96"), ip_network("64:ff9b::/96"), ip_network("2002::/16")]
    assert [(int(b[0]), int(b[-1])) for b in blocks] == list(EMBEDDED_V4)
