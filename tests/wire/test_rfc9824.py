"""RFC 9824 §3.5: NXNAME is for bitmaps, never to be asked for."""

from __future__ import annotations

import dns.edns
import dns.message
import dns.rcode
import pytest

from wire.target import Target, options_of

NXNAME = "TYPE128"
INVALID_QUERY_TYPE = 30


@pytest.mark.parametrize("name", ["www.example.test", "nosuch.example.test", "example.test"])
def test_nxname_is_a_bad_question(target: Target, tcp: bool, name: str) -> None:
    """§3.5 [32]: FORMERR."""
    answer = target.ask(name, NXNAME, tcp=tcp)
    assert (answer.rcode(), answer.answer) == (dns.rcode.FORMERR, [])


def test_why(target: Target, tcp: bool) -> None:
    """§3.5 [57]: extended error 30, "Invalid Query Type"."""
    answer = target.ask("www.example.test", NXNAME, tcp=tcp)
    codes = [int.from_bytes(each[:2], "big") for each in options_of(answer, 15)]
    assert codes == [INVALID_QUERY_TYPE]
