"""RFC 9619: one question."""

from __future__ import annotations

import dns.edns
import dns.message
import dns.rcode
import pytest

from wire.target import Target

QUESTION = b"\3www\7example\4test\0\0\1\0\1"


@pytest.mark.parametrize("count", [2, 3, 255, 65535])
def test_more_than_one(target: Target, tcp: bool, count: int) -> None:
    """§4 [7]: FORMERR, whether they are there or not."""
    for body in (QUESTION * min(count, 3), QUESTION):
        packet = b"\x12\x34\0\0" + count.to_bytes(2, "big") + bytes(6) + body
        answer = target.octets(packet, tcp=tcp)
        assert answer[:2] == b"\x12\x34"
        assert answer[3] & 0xF == dns.rcode.FORMERR
        assert answer[6:10] == bytes(4)


def test_none(target: Target, tcp: bool) -> None:
    """RFC 8906 §3, RFC 7873 §5.4 [7]: FORMERR for a header alone."""
    answer = target.octets(b"\x12\x34" + bytes(10), tcp=tcp)
    assert answer[:2] == b"\x12\x34"
    assert answer[3] & 0xF == dns.rcode.FORMERR


@pytest.mark.transports
@pytest.mark.decision("no question and no cookie is FORMERR, with other options too")
def test_none_with_edns(target: Target, tcp: bool) -> None:
    """RFC 7873 §5.4 [7, 37]: only a cookie may come without a question."""
    asked = dns.message.Message()
    asked.use_edns(0, options=[dns.edns.GenericOption(3, b"")])
    assert target.exchange(asked.to_wire(), tcp=tcp).rcode() == dns.rcode.FORMERR
