"""Limits: exact counts, nobody pays for a neighbour, and a flood costs bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_dns.answer.rate_limit import (
    ANSWER,
    DROP,
    ERROR,
    LOOPBACK,
    MAX_PREFIXES,
    NEGATIVE,
    PASS,
    REFERRAL,
    SLIP,
    TAILORED,
    RateLimit,
)
from firsthop_geodata.addresses import Network

KINDS = TAILORED, ANSWER, NEGATIVE, REFERRAL, ERROR
NOW = 1_790_000_000.25
HOST, NEIGHBOUR, OTHER = "198.51.100.7", "198.51.100.250", "198.51.101.7"


def limits(each: int, exempt: Iterable[Network] = LOOPBACK) -> RateLimit:
    """The same limit for every kind."""
    return RateLimit(
        tailored=each, answer=each, negative=each, referral=each, error=each, exempt=exempt
    )


def ask(
    limit: RateLimit, times: int, host: str = HOST, *, kind: int = ANSWER, now: float = NOW
) -> list[int]:
    """So many verdicts in a row."""
    return [limit.verdict(kind, host, ":" in host, now) for _ in range(times)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("host", [HOST, "2001:db8::7"])
def test_so_many_pass_and_no_more(kind: int, host: str) -> None:
    """Then every second one is a slip, the first of them at once."""
    got = ask(limits(5), 11, host, kind=kind)
    assert got == [PASS] * 5 + [SLIP, DROP] * 3


def test_every_kind_has_its_own_limit_and_count() -> None:
    """Many errors do not stop the answers."""
    limit = RateLimit(tailored=5, answer=4, negative=3, referral=2, error=1)
    for kind, most in ((ERROR, 1), (NEGATIVE, 3), (TAILORED, 5), (ANSWER, 4), (REFERRAL, 2)):
        assert ask(limit, 6, kind=kind).count(PASS) == most


def test_defaults_let_steered_answers_be_frequent() -> None:
    """In one second: 2000 for client subnets, 200 static, denied or referred, 100 errors."""
    limit = RateLimit()
    passed = [ask(limit, 2500, kind=kind).count(PASS) for kind in KINDS]
    assert passed == [2000, 200, 200, 200, 100]


def test_a_limit_of_zero_is_none() -> None:
    """And leaves the other kinds limited; a negative one would silence us."""
    limit = RateLimit(answer=0, error=2)
    assert set(ask(limit, 5000)) == {PASS}
    assert ask(limit, 3, kind=ERROR) == [PASS, PASS, SLIP]
    with pytest.raises(ValueError, match="limit"):
        RateLimit(negative=-1)


@pytest.mark.parametrize(
    ("hosts", "others"),
    [
        ((HOST, NEIGHBOUR, "198.51.100.0"), (OTHER, "198.51.10.7", "98.51.100.7")),
        (
            ("2001:db8::7", "2001:db8:0:ff::1", "2001:0DB8:0:0:0:0:0:9"),
            ("2001:db8:0:100::7", "2001:db8:1::7", "::7", "2001:db9::7"),
        ),
        (("fe80::1%eth0", "fe80::1%eth1", "fe80::2"), ("fe80:0:0:100::1%eth0",)),
    ],
)
def test_a_network_shares_a_count(hosts: tuple[str, ...], others: tuple[str, ...]) -> None:
    """/24 of IPv4, /56 of IPv6 however it is written; whoever is outside has his own."""
    limit = limits(len(hosts))
    assert [ask(limit, 1, host) for host in hosts] == [[PASS]] * len(hosts)
    assert ask(limit, 2, hosts[0]) == [SLIP, DROP]
    for other in others:
        assert ask(limit, 1, other) == [PASS]


def test_slips_are_half_whatever_others_do() -> None:
    """Each network has its own turn, so an attacker cannot take all slips of another."""
    limit = limits(1)
    ask(limit, 1)
    ask(limit, 1, OTHER)
    mixed = []
    for _ in range(50):
        mixed += ask(limit, 1)
        ask(limit, 2, OTHER)
    assert mixed == [SLIP, DROP] * 25


def test_a_second_later_all_begin_anew() -> None:
    """Windows are whole seconds of the clock."""
    limit = limits(2)
    for second in range(3):
        assert ask(limit, 3, now=NOW + second) == [PASS, PASS, SLIP]
    assert ask(limit, 1, now=NOW + 2.74) == [DROP]
    assert ask(limit, 1, now=NOW + 2.75) == [PASS]


def test_a_clock_that_jumps_begins_a_window() -> None:
    """Either way; nobody stays limited by a time that never comes."""
    limit = limits(1)
    for now in (NOW, NOW - 86_400, NOW + 1e9, NOW - 0.5, NOW, -5.5, 0.0):
        assert ask(limit, 2, now=now) == [PASS, SLIP]


def test_loopback_is_not_limited() -> None:
    """A reply there leaves no machine."""
    limit = limits(1)
    for host in ("127.0.0.1", "127.255.3.4", "::1"):
        assert set(ask(limit, 100, host)) == {PASS}
    assert ask(limit, 3, "128.0.0.1") == [PASS, SLIP, DROP]
    assert ask(limit, 3, "0:0:0:100::1") == [PASS, SLIP, DROP]


@pytest.mark.parametrize(
    ("networks", "inside", "outside"),
    [
        (["192.0.0.0/8"], ["192.0.2.1", "192.255.2.1"], ["193.0.2.1"]),
        (["192.0.2.0/24"], ["192.0.2.0", "192.0.2.255"], ["192.0.3.1"]),
        (["192.0.2.8/29"], ["192.0.2.8", "192.0.2.15"], ["192.0.2.7", "192.0.2.16"]),
        (["192.0.2.8/32", "192.0.2.64/26"], ["192.0.2.8", "192.0.2.127"], ["192.0.2.9"]),
        (["2001:db8::/32"], ["2001:db8:9::1"], ["2001:db9::1"]),
        (["2001:db8::/64", "::/128"], ["2001:db8::1"], ["2001:db8:0:1::1", "192.0.2.1"]),
        (["0.0.0.0/0"], ["192.0.2.1"], ["2001:db8::1"]),
    ],
)
def test_exempt_networks_of_any_size(
    networks: list[str], inside: list[str], outside: list[str]
) -> None:
    """Whoever is in one always passes, in every window, and nobody else does."""
    limit = limits(3, exempt=[ip_network(each) for each in networks])
    for second in range(2):
        for host in inside:
            assert set(ask(limit, 20, host, now=NOW + second)) == {PASS}
        for host in outside:
            got = ask(limit, 20, host, now=NOW + second)
            assert got[-4:] in ([SLIP, DROP] * 2, [DROP, SLIP] * 2)
        for host in inside:
            assert set(ask(limit, 20, host, now=NOW + second)) == {PASS}


def test_exempt_neighbours_take_no_slips() -> None:
    """Beyond the limit their replies are not counted."""
    limit = limits(2, exempt=[ip_network("198.51.100.250/32")])
    assert ask(limit, 2) == [PASS, PASS]
    for _ in range(5):
        assert ask(limit, 3, NEIGHBOUR) == [PASS] * 3
        assert ask(limit, 2) == [SLIP, DROP]


def host_of(number: int) -> str:
    """An address in a /24 of its own."""
    return f"10.{number >> 8}.{number & 255}.1"


def test_ten_thousand_forged_senders_are_told_apart() -> None:
    """Each has its own limit, so that no honest network among them is hurt."""
    limit = limits(2)
    hosts = [host_of(number) for number in range(10_000)]
    for wanted in (PASS, PASS, SLIP, DROP):
        assert {limit.verdict(ANSWER, host, False, NOW) for host in hosts} == {wanted}


def test_more_senders_than_are_told_apart_share_counts() -> None:
    """Memory is bounded, and a flood of networks hides none that is flooded."""
    limit = limits(50, exempt=[ip_network("203.0.113.0/24"), ip_network("192.0.2.9/32")])
    first = ask(limit, 10)
    for number in range(60_000):
        limit.verdict(ANSWER, host_of(number), False, NOW)
    assert sum(map(len, limit._counts)) <= 2 * MAX_PREFIXES
    assert first + ask(limit, 42) == [PASS] * 50 + [SLIP, DROP]  # known before: counted alone
    late = Counter(ask(limit, 1000, OTHER))
    assert 30 < late[PASS] <= 50
    assert late[SLIP] == pytest.approx(late[DROP], abs=1)
    for exempt in ("203.0.113.5", "192.0.2.9"):
        assert set(ask(limit, 200, exempt)) == {PASS}
    assert set(ask(limit, 2, OTHER)) == {SLIP, DROP}
    ask(limit, 1, now=NOW + 1)
    assert sum(map(len, limit._counts)) == 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from(KINDS),
            st.sampled_from((HOST, NEIGHBOUR, OTHER, "2001:db8::1", "2001:db8:0:ff::1", "::1")),
            st.sampled_from((0.0, 0.5, 0.99, 1.0, 3.0)),
        ),
        max_size=80,
    )
)
def test_verdicts_are_those_of_a_plain_count(asked: list[tuple[int, str, float]]) -> None:
    """Against a model that keeps every reply of the window."""
    limit = limits(2)
    window, seen = -1, Counter[tuple[int, str]]()
    for kind, host, offset in asked:
        if window != int(offset):
            window, seen = int(offset), Counter()
        network = host.rpartition(".")[0] if "." in host else host[:8]
        seen[kind, network] += 1
        excess = seen[kind, network] - 2
        wanted = PASS if excess <= 0 or host == "::1" else (DROP, SLIP)[excess % 2]
        assert limit.verdict(kind, host, ":" in host, offset) == wanted
