"""RFC 9018: server cookies that every server of an anycast address understands.

The server under test has the secret of `wire.servers.same`.
"""

from __future__ import annotations

import time
from ipaddress import ip_address

import dns.edns
import dns.rcode
import pytest

from wire.servers.same import COOKIE_SECRET
from wire.target import Target, options_of

pytestmark = pytest.mark.transports

COOKIE = 10
CLIENT = bytes.fromhex("2464c4abcf10c957")
SECRET = bytes.fromhex(COOKIE_SECRET)
VERSION = b"\1\0\0\0"
_MASK = (1 << 64) - 1


def siphash24(key: bytes, message: bytes) -> bytes:
    """SipHash-2-4 of Aumasson and Bernstein, little-endian; ours, to hold the server's against."""
    k0, k1 = (int.from_bytes(key[at : at + 8], "little") for at in (0, 8))
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D]
    v += [k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]

    def turn(value: int, bits: int) -> int:
        return (value << bits | value >> 64 - bits) & _MASK

    def rounds(count: int) -> None:
        for _ in range(count):
            for a, b, left in ((0, 1, 13), (2, 3, 16)):
                v[a] = v[a] + v[b] & _MASK
                v[b] = turn(v[b], left) ^ v[a]
            v[0] = turn(v[0], 32)
            for a, b, left in ((2, 1, 17), (0, 3, 21)):
                v[a] = v[a] + v[b] & _MASK
                v[b] = turn(v[b], left) ^ v[a]
            v[2] = turn(v[2], 32)

    whole = len(message) // 8 * 8
    words = [message[at : at + 8] for at in range(0, whole, 8)]
    words.append(message[whole:].ljust(7, b"\0") + bytes([len(message) & 0xFF]))
    for word in words:
        number = int.from_bytes(word, "little")
        v[3] ^= number
        rounds(2)
        v[0] ^= number
    v[2] ^= 0xFF
    rounds(4)
    return (v[0] ^ v[1] ^ v[2] ^ v[3]).to_bytes(8, "little")


def server_cookie(client: bytes, address: str, at: int, *, secret: bytes = SECRET) -> bytes:
    """The server's part as §4 has it."""
    head = VERSION + at.to_bytes(4, "big")
    return head + siphash24(secret, client + head + ip_address(address).packed)


@pytest.fixture
def own_address(target: Target) -> str:
    """From which the server hears us."""
    with target.datagrams() as sock:
        return str(sock.getsockname()[0])


def answer_to(target: Target, content: bytes, *, tcp: bool = False) -> tuple[bool, bytes]:
    """Whether the cookie was taken without a word, and the one that came back."""
    answer = target.ask(
        "www.example.test", tcp=tcp, options=[dns.edns.GenericOption(COOKIE, content)]
    )
    (found,) = options_of(answer, COOKIE)
    return answer.rcode() == dns.rcode.NOERROR and bool(answer.answer), found


def test_the_vectors_of_the_rfc() -> None:
    """Appendix A.1: so that the other tests hold servers against the right thing."""
    due = bytes.fromhex("010000005cf79f111f8130c3eee29480")
    assert server_cookie(CLIENT, "198.51.100.100", 0x5CF79F11) == due


def test_the_layout(target: Target, own_address: str, tcp: bool) -> None:
    """§4.1 to §4.4 [36]: version 1, three zero octets, the time, the hash over all of it."""
    _, found = answer_to(target, CLIENT, tcp=tcp)
    at = int.from_bytes(found[12:16], "big")
    assert found[:12] == CLIENT + VERSION
    assert abs(at - time.time()) < 60
    assert found[8:] == server_cookie(CLIENT, own_address, at)


@pytest.mark.parametrize("age", [0, 600, 3500, -200])
def test_cookies_of_other_servers_are_taken(target: Target, own_address: str, age: int) -> None:
    """§4.3, §5 [36]: up to an hour old, up to five minutes ahead, whoever made them."""
    made = server_cookie(CLIENT, own_address, int(time.time()) - age)
    taken, found = answer_to(target, CLIENT + made)
    assert taken
    assert found[:8] == CLIENT


@pytest.mark.decision("a fresh cookie is not renewed; others make a new one for every answer")
def test_a_fresh_cookie_comes_back_as_it_is(target: Target, own_address: str) -> None:
    """§4.3 [36]: renewed after half an hour, not at every query."""
    made = server_cookie(CLIENT, own_address, int(time.time()) - 60)
    assert answer_to(target, CLIENT + made)[1] == CLIENT + made


@pytest.mark.parametrize("age", [2400, 3500])
def test_an_old_cookie_is_renewed(target: Target, own_address: str, age: int) -> None:
    """§4.3 [36]: before it expires."""
    made = server_cookie(CLIENT, own_address, int(time.time()) - age)
    found = answer_to(target, CLIENT + made)[1]
    assert int.from_bytes(found[12:16], "big") > time.time() - 60


@pytest.mark.parametrize("age", [4000, -400])
def test_an_expired_cookie_is_replaced(target: Target, own_address: str, age: int) -> None:
    """§4.3 [36]: as one that was never good."""
    made = server_cookie(CLIENT, own_address, int(time.time()) - age)
    found = answer_to(target, CLIENT + made)[1]
    assert abs(int.from_bytes(found[12:16], "big") - time.time()) < 60


def test_a_cookie_of_another_secret_is_replaced(target: Target, own_address: str) -> None:
    """§4.4 [36]."""
    made = server_cookie(CLIENT, own_address, int(time.time()), secret=bytes(16))
    assert answer_to(target, CLIENT + made)[1] != CLIENT + made
