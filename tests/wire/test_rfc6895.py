"""RFC 6895: types that are no data, and the first and last numbers."""

from __future__ import annotations

import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from wire.target import Target

META = ["TYPE0", "OPT", "TKEY", "TSIG", "MAILB", "MAILA", "TYPE129", "TYPE248"]
REFUSALS = (dns.rcode.REFUSED, dns.rcode.FORMERR, dns.rcode.NOTIMP)


def meta(kind: str) -> bytes:
    """A question for a type that no RRset can have."""
    asked = dns.message.make_query("example.test", "SOA")
    asked.question[0].rdtype = dns.rdatatype.from_text(kind)
    return asked.to_wire()


@pytest.mark.parametrize("kind", META)
def test_meta_types_give_no_data(target: Target, tcp: bool, kind: str) -> None:
    """§3.1 [32]: answered at once, whatever the rcode."""
    answer = target.exchange(meta(kind), tcp=tcp)
    assert answer.answer == []


@pytest.mark.decision("meta types are refused: no zone can have them; others say NODATA")
@pytest.mark.parametrize("kind", META)
def test_meta_types_are_refused(target: Target, tcp: bool, kind: str) -> None:
    """§3.1 [32]: so that nobody caches NODATA for them."""
    assert target.exchange(meta(kind), tcp=tcp).rcode() in REFUSALS
