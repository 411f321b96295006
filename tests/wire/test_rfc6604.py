"""RFC 6604: the rcode belongs to the last name, the flags to the first."""

from __future__ import annotations

import dns.flags
import dns.rcode
import pytest

from wire.target import Target


@pytest.mark.parametrize(
    ("name", "rcode"),
    [
        ("chain.example.test", dns.rcode.NOERROR),
        ("dangling.example.test", dns.rcode.NXDOMAIN),
        ("x.cdangling.example.test", dns.rcode.NXDOMAIN),
        ("ent.example.test", dns.rcode.NOERROR),
        ("out.example.test", dns.rcode.NOERROR),
        ("intosub.example.test", dns.rcode.NOERROR),
        pytest.param("x.dname.example.test", dns.rcode.NXDOMAIN, marks=pytest.mark.needs("DNAME")),
        pytest.param("x.dout.example.test", dns.rcode.NOERROR, marks=pytest.mark.needs("DNAME")),
    ],
)
def test_the_rcode_of_the_last_name(target: Target, tcp: bool, name: str, rcode: int) -> None:
    """§3 [26]: of the last one that this server knows about."""
    answer = target.resolve(name, tcp=tcp)
    assert answer.rcode() == rcode
    assert answer.answer


@pytest.mark.parametrize("name", ["chain", "dangling", "out", "intosub"])
def test_authority_of_the_first_name(target: Target, tcp: bool, name: str) -> None:
    """§2.1 [1, 26]: AA belongs to the first owner in the answer."""
    assert target.ask(f"{name}.example.test", tcp=tcp).flags & dns.flags.AA
