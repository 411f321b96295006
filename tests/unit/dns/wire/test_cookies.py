"""Cookies: the published vectors, and that nothing but a cookie of ours is taken for one."""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_dns.wire.cookies import Cookies, derived_secrets, read_secrets

CLIENT = bytes.fromhex("2464c4abcf10c957")
OLD, NEW, FOREIGN = b"o" * 16, b"n" * 16, b"f" * 16
NOW = 1_790_000_000.5
V4, V6 = ip_address("192.0.2.1").packed, ip_address("2001:db8::1").packed

ADDRESSES = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)
CLIENTS = st.binary(min_size=8, max_size=8)
MOMENTS = st.integers(0, 2**34)


def learn(cookies: Cookies, address: bytes = V4, now: float = NOW) -> bytes:
    """What a new client is given."""
    valid, cookie = cookies.check(CLIENT, address, now)
    assert not valid
    return cookie


@pytest.mark.parametrize(
    ("secrets", "address", "now", "asked", "valid", "given_back"),
    [
        pytest.param(
            "e5e973e5a6b2a43f48e7dc849e37bfcf",
            "198.51.100.100",
            1559731985,
            "2464c4abcf10c957",
            False,
            "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
            id="A.1 learning",
        ),
        pytest.param(
            "e5e973e5a6b2a43f48e7dc849e37bfcf",
            "198.51.100.100",
            1559734385,
            "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
            True,
            "2464c4abcf10c957010000005cf7a871d4a564a1442aca77",
            id="A.2 renewed after 40 minutes",
        ),
        pytest.param(
            "e5e973e5a6b2a43f48e7dc849e37bfcf",
            "203.0.113.203",
            1559727985 + 3600,
            "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5",
            True,
            None,
            id="A.3 reserved octets set, within the hour",
        ),
        pytest.param(
            "e5e973e5a6b2a43f48e7dc849e37bfcf",
            "203.0.113.203",
            1559734700,
            "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5",
            False,
            "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e",
            id="A.3 replaced, being older than an hour",
        ),
        pytest.param(
            "445536bcd2513298075a5d379663c962 dd3bdf9344b678b185a6f5cb60fca715",
            "2001:db8:220:1:59de:d0f4:8769:82b8",
            1559741961,
            "22681ab97d52c298010000005cf7c57926556bd0934c72f8",
            True,
            "22681ab97d52c298010000005cf7c609a6bb79d16625507a",
            id="A.4 signed with the secret before",
        ),
    ],
)
def test_vectors_of_the_standard(
    secrets: str, address: str, now: int, asked: str, valid: bool, given_back: str | None
) -> None:
    """RFC 9018 appendix A: other servers behind our address make the same cookies."""
    cookies = Cookies([bytes.fromhex(each) for each in secrets.split()])
    got = cookies.check(bytes.fromhex(asked), ip_address(address).packed, now)
    assert got[0] is valid
    if given_back is not None:
        assert got[1].hex() == given_back


@given(CLIENTS, ADDRESSES, MOMENTS, st.integers(-300, 3600))
def test_a_cookie_learnt_is_good_from_there(
    client: bytes, address: bytes, now: int, age: int
) -> None:
    """For an hour, and five minutes early for a clock that is behind (RFC 9018 §4.3)."""
    cookies = Cookies([NEW])
    valid, cookie = cookies.check(client, address, now)
    assert (valid, len(cookie), cookie[:8]) == (False, 24, client)
    valid, later = cookies.check(cookie, address, now + age)
    assert valid
    assert (later == cookie) is (age <= 1800)
    assert cookies.check(later, address, now + age)[0]


@given(MOMENTS, st.integers(3601, 2**32 - 301))
def test_old_and_future_cookies_are_refused(now: int, age: int) -> None:
    """Also across the wrap of 32-bit time in 2106 (RFC 1982); a good one comes back."""
    cookies = Cookies([NEW])
    cookie = learn(cookies, now=now)
    valid, fresh = cookies.check(cookie, V4, now + age)
    assert not valid
    assert cookies.check(fresh, V4, now + age)[0]


def test_limits_of_age_are_where_they_are_said_to_be() -> None:
    """Both to the second, and time may wrap meanwhile."""
    cookies = Cookies([NEW])
    for now in (NOW, 2.0**32 - 100, 2.0**32 + 100):
        cookie = learn(cookies, now=now)
        ages = (-301, -300, 1800, 1801, 3600, 3601)
        got = [cookies.check(cookie, V4, now + age) for age in ages]
        assert [valid for valid, _ in got] == [False, True, True, True, True, False]
        assert [back == cookie for _, back in got] == [False, True, True, False, False, False]


@given(st.integers(0, 24 * 8 - 1))
def test_any_flipped_bit_spoils_a_cookie(bit: int) -> None:
    """Client part, version, reserved octets, time and hash alike."""
    cookies = Cookies([NEW, OLD])
    octets = bytearray(learn(cookies))
    octets[bit // 8] ^= 1 << bit % 8
    assert not cookies.check(bytes(octets), V4, NOW)[0]


@given(ADDRESSES, ADDRESSES)
def test_a_cookie_is_for_one_address(address: bytes, other: bytes) -> None:
    """Else anybody could fetch one and use it with a forged sender."""
    cookies = Cookies([NEW])
    assert cookies.check(learn(cookies, address), other, NOW)[0] is (address == other)


def test_secrets_roll_over() -> None:
    """RFC 9018 §5: add the new one, sign with it, drop the old one; nobody starts anew."""
    before, added = Cookies([OLD]), Cookies([OLD, NEW])
    signing, after = Cookies([NEW, OLD]), Cookies([NEW])
    cookie = learn(before)
    assert added.check(cookie, V4, NOW) == (True, cookie)
    valid, renewed = signing.check(cookie, V4, NOW)
    assert valid
    assert renewed == learn(signing) != cookie
    assert added.check(renewed, V4, NOW) == (True, learn(before))
    assert after.check(renewed, V4, NOW) == (True, renewed)
    assert not after.check(cookie, V4, NOW)[0]


def test_cookies_of_other_secrets_are_refused() -> None:
    """Neither of them signed it."""
    cookie = learn(Cookies([FOREIGN]))
    assert Cookies([NEW, OLD]).check(cookie, V4, NOW) == (False, learn(Cookies([NEW])))


def test_server_parts_of_another_length_or_version_are_refused() -> None:
    """They are legal (RFC 7873 §4), but none of ours."""
    cookies = Cookies([NEW])
    cookie = learn(cookies)
    for other in (cookie[:16], cookie[:-1], cookie + b"\0", cookie + bytes(16)):
        assert cookies.check(other, V4, NOW) == (False, cookie)
    assert not cookies.check(CLIENT + b"\x02" + cookie[9:], V4, NOW)[0]


@pytest.mark.fuzz
@given(st.binary(min_size=8, max_size=40), ADDRESSES, MOMENTS)
def test_no_octets_make_it_raise(cookie: bytes, address: bytes, now: int) -> None:
    """None that were not signed are valid, and a whole cookie comes back."""
    valid, back = Cookies([NEW, OLD]).check(cookie, address, now)
    assert not valid
    assert (len(back), back[:8]) == (24, cookie[:8])


@pytest.mark.parametrize("secrets", [[], [b"short"], [NEW, b"long" * 8], [NEW, OLD, FOREIGN]])
def test_other_than_one_or_two_whole_secrets_are_refused(secrets: list[bytes]) -> None:
    """At the start, not at the first query."""
    with pytest.raises(ValueError, match="cookie secret"):
        Cookies(secrets)


def test_edges_with_the_same_keys_agree() -> None:
    """Derived one way, from key and day; what was signed yesterday is taken today."""
    key, noon = b"k" * 32, 20_000 * 86_400 + 43_200
    label = b"firsthop dns cookie v1"
    assert derived_secrets(key, noon) == tuple(
        hmac.new(key, label + day.to_bytes(4, "big"), hashlib.sha256).digest()[:16]
        for day in (20_000, 19_999)
    )
    today, tomorrow = (Cookies(derived_secrets(key, noon + hours * 3600)) for hours in (11, 13))
    assert tomorrow.check(learn(today), V4, NOW)[0]
    assert not Cookies(derived_secrets(b"l" * 32, noon)).check(learn(today), V4, NOW)[0]


def test_shared_secrets_are_read_from_lines() -> None:
    """As BIND, Knot and NSD take them: 32 hex digits."""
    text = (
        "# ours\n\n  e5e973e5a6b2a43f48e7dc849e37bfcf  # signs\r\nDD3BDF9344B678B185A6F5CB60FCA715"
    )
    assert [each.hex() for each in read_secrets(text)] == [
        "e5e973e5a6b2a43f48e7dc849e37bfcf",
        "dd3bdf9344b678b185a6f5cb60fca715",
    ]
    assert read_secrets("00" * 16) == (bytes(16),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "0 cookie secrets"),
        ("# none", "0 cookie secrets"),
        ("\n".join(["ab" * 16] * 3), "3 cookie secrets"),
        ("\n" + "ab" * 15, "line 2: .* 32 hex digits"),
        ("ab" * 17, "line 1: .* 32 hex digits"),
        ("ab" * 8 + " " + "ab" * 8, "line 1: .* 32 hex digits"),
        ("ab" * 15 + " a", "line 1: .* 32 hex digits"),
        ("ag" * 16, "line 1: .* 32 hex digits"),
        ("١٢" * 16, "line 1: .* 32 hex digits"),
    ],
)
def test_bad_secrets_are_refused_and_not_repeated(text: str, reason: str) -> None:
    """The message says where, and may be logged."""
    with pytest.raises(ValueError, match=reason) as refused:
        read_secrets(text)
    assert "abab" not in str(refused.value)
