"""Candidates by the letter of RFC 8839, RFC 8445 and RFC 6544."""

from __future__ import annotations

import re
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_ice.candidates import UdpAddress, candidate_lines, priority
from firsthop_steering.plan.model import Relay

# RFC 8839 §5.1 for host candidates, with RFC 6544 §4.5's tcptype.
LINE = re.compile(
    r"candidate:(?P<foundation>[A-Za-z0-9+/]{1,32}) (?P<component>[0-9]{1,3}) "
    r"(?P<protocol>udp|tcp) (?P<priority>[0-9]{1,10}) (?P<address>[0-9a-f:.]+) "
    r"(?P<port>[0-9]{1,5}) typ host(?P<tcptype> tcptype passive)?"
)


def fields(line: str) -> dict[str, str]:
    match = LINE.fullmatch(line)
    assert match, line
    return match.groupdict(default="")


def relay(n: int, **values: object) -> Relay:
    return Relay.model_validate(
        {"id": f"r{n}", "region": "fra", "ipv4": f"192.0.2.{n}", "ipv6": f"2001:db8::{n:x}"}
        | values
    )


def test_known_lines() -> None:
    """126 · 2²⁴ + 65535 · 2⁸ + 255 is the highest priority a host candidate can have."""
    assert priority(126, 65535) == 2130706431
    assert candidate_lines([relay(1, tcp_port=443)]) == (
        "candidate:1 1 udp 2130706431 2001:db8::1 3478 typ host",
        "candidate:2 1 udp 2130706175 192.0.2.1 3478 typ host",
        "candidate:3 1 tcp 1520435199 2001:db8::1 443 typ host tcptype passive",
        "candidate:4 1 tcp 1520434943 192.0.2.1 443 typ host tcptype passive",
    )


RELAY_VALUES = st.tuples(
    st.booleans(), st.booleans(), st.one_of(st.none(), st.integers(1, 65535))
).filter(lambda each: each[0] or each[1])


@given(st.lists(RELAY_VALUES, min_size=1, max_size=3), st.booleans())
def test_any_relays(values: list[tuple[bool, bool, int | None]], one_host: bool) -> None:
    """Every line parses; priorities are unique, in rank order, UDP above TCP; equal foundations
    mean one address and protocol."""
    relays = []
    for n, (four, six, tcp_port) in enumerate(values, start=1):
        changes: dict[str, object] = {"tcp_port": tcp_port, "udp_port": 3000 + n}
        if not four:
            changes["ipv4"] = None
        elif one_host:
            changes["ipv4"] = "192.0.2.100"
        if not six:
            changes["ipv6"] = None
        relays.append(relay(n, **changes))
    parsed = [fields(line) for line in candidate_lines(relays)]
    priorities = [int(each["priority"]) for each in parsed]
    assert priorities == sorted(set(priorities), reverse=True)
    assert all(0 < each < 2**31 for each in priorities)
    protocols = [each["protocol"] for each in parsed]
    assert protocols == sorted(protocols, reverse=True), "udp before tcp"
    assert [bool(each["tcptype"]) for each in parsed] == [each == "tcp" for each in protocols]
    bases = {(each["address"], each["protocol"]): each["foundation"] for each in parsed}
    assert all(bases[each["address"], each["protocol"]] == each["foundation"] for each in parsed)
    assert len(set(bases.values())) == len(bases)
    udp = [(each["address"], int(each["port"])) for each in parsed if each["protocol"] == "udp"]
    expected = [
        (str(address), each.udp_port)
        for rank, each in enumerate(relays)
        for address in (each.ipv6 if all(r.ipv6 for r in relays[:rank]) else None, each.ipv4)
        if address is not None
    ]
    assert udp == expected


CLIENTS = {
    "IPv6 far above IPv4": (40 << 8, 35 << 8),
    "IPv6 just above IPv4": (32512, 32511),
    "IPv6 as high as ours": (65535, 65279),
    "all alike": (65535, 65535),
    "IPv4 above IPv6": (65279, 65535),
}
"""Local preferences of a client's IPv6 and IPv4 addresses; browsers put IPv6 first."""


@pytest.mark.parametrize("stack", CLIENTS)
@given(
    values=st.lists(st.sampled_from([(True, True), (True, False)]), min_size=1, max_size=4),
    dead=st.sets(st.integers(1, 4)),
)
def test_the_ranking_wins_with_every_stack(
    stack: str, values: list[tuple[bool, bool]], dead: set[int]
) -> None:
    """The pair of highest priority (RFC 8445 §6.1.2.3) that works is of the first relay that is
    alive, although a client prefers its own IPv6 whatever the candidates' priorities say."""
    relays = [relay(n, ipv6=f"2001:db8::{n}" if six else None)
              for n, (_, six) in enumerate(values, start=1)]  # fmt: skip
    pairs = []
    for each in map(fields, candidate_lines(relays)):
        own = priority(126, CLIENTS[stack][":" not in each["address"]])
        theirs = int(each["priority"])
        rank = int(re.split(r"[.:]", each["address"])[-1])
        value = (min(own, theirs) << 32) + 2 * max(own, theirs) + (own > theirs)
        pairs.append((value, rank))
    alive = [rank for _, rank in sorted(pairs, reverse=True) if rank not in dead]
    if alive:
        assert alive[0] == min(alive)


def test_an_address_alone_has_one_line() -> None:
    """A server that is no relay of the plan: one address, by UDP."""
    for text in ("192.0.2.1", "2001:db8::1"):
        (line,) = candidate_lines([UdpAddress(ip_address(text), 3479)])
        assert line == f"candidate:1 1 udp 2130706431 {text} 3479 typ host"
