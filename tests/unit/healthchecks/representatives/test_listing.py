"""The file of representatives: what it may say, and what is said of a line that is wrong."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from firsthop_healthchecks.representatives.listing import (
    MOST,
    ListingError,
    Representative,
    read_listing,
)


def test_an_address_stands_for_its_prefix() -> None:
    """A /24 or a /48; echo requests are the default; remarks and empty lines are nothing."""
    text = """
        # resolvers of an ISP, agreed with its operators
        8.8.8.8                  # one
        9.9.9.9 check=tcp:53
        2620:fe::fe check=icmp
        127.0.0.1 check=tcp:1
    """
    found = read_listing(text)
    assert found == (
        Representative(ip_address("8.8.8.8")),
        Representative(ip_address("9.9.9.9"), 53),
        Representative(ip_address("2620:fe::fe")),
        Representative(ip_address("127.0.0.1"), 1),
    )
    assert [str(each.prefix) for each in found] == [
        "8.8.8.0/24", "9.9.9.0/24", "2620:fe::/48", "127.0.0.0/24",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("resolver.example", "'resolver.example' is no IP address"),
        ("8.8.4.0/24", "'8.8.4.0/24' is no IP address"),
        ("10.1.2.3", "private or special-purpose"),
        ("192.168.1.1", "private or special-purpose"),
        ("100.64.0.1", "private or special-purpose"),
        ("169.254.1.1", "private or special-purpose"),
        ("224.0.0.1", "private or special-purpose"),
        ("0.0.0.0", "private or special-purpose"),
        ("255.255.255.255", "private or special-purpose"),
        ("203.0.113.5", "private or special-purpose"),
        ("fd00::1", "private or special-purpose"),
        ("fe80::1", "private or special-purpose"),
        ("ff02::1", "private or special-purpose"),
        ("::ffff:8.8.4.4", "plain IPv4 or IPv6"),
        ("2620:fe::9%eth0", "plain IPv4 or IPv6"),
        ("8.8.4.4 tcp:53", "'tcp:53': after the address may stand check=icmp or check=tcp:PORT"),
        ("8.8.4.4 every=60", "'every=60': after the address may stand"),
        ("8.8.4.4 check=udp:53", "check must be icmp or tcp:PORT"),
        ("8.8.4.4 check=tcp:0", "check must be icmp or tcp:PORT"),
        ("8.8.4.4 check=tcp:65536", "port of 1 to 65535"),
        ("8.8.4.4 check=tcp:５３", "check must be icmp or tcp:PORT"),
        ("8.8.4.4 check=", "check must be icmp or tcp:PORT"),
        ("8.8.4.4 check=icmp check=icmp", "check stands twice"),
        ("8.8.8.9", "8.8.8.0/24 has a representative in line 2"),
        ("8.8.8.8", "8.8.8.0/24 has a representative in line 2"),
    ],
)
def test_nonsense_is_refused_by_line_and_rule(line: str, rule: str) -> None:
    with pytest.raises(ListingError) as refused:
        read_listing(f"# whom we may measure\n8.8.8.8\n\n{line}\n")
    assert str(refused.value).startswith("line 4: ")
    assert rule in str(refused.value)


def test_there_are_ten_thousand_at_most_and_one_at_least() -> None:
    lines = [f"11.{n >> 8}.{n & 255}.1" for n in range(MOST)]
    assert len(read_listing("\n".join(lines))) == MOST
    with pytest.raises(ListingError, match=f"^line {MOST + 1}: more than {MOST} "):
        read_listing("\n".join([*lines, "12.0.0.1"]))
    with pytest.raises(ListingError, match="names no representative"):
        read_listing("# nobody yet\n")
