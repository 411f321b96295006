"""RFC 9156: what a resolver meets that asks for no more labels than it must."""

from __future__ import annotations

import dns.name
import dns.rcode
import pytest

from wire import sample
from wire.target import Target, is_referral, negative_ttl


@pytest.mark.parametrize("kind", ["NS", "A", "AAAA"])
@pytest.mark.parametrize(
    "name",
    [
        "www.example.test",
        "a.b.deep.example.test",
        "_sip._udp.example.test",
        "_443._tcp.www.example.test",
        "leaf.ent.wild.example.test",
        "_ssh._tcp.host2.rfc4592.example.test",
        pytest.param("geo.example.test", marks=pytest.mark.steered),
    ],
)
def test_no_step_on_the_way_says_nxdomain(target: Target, tcp: bool, name: str, kind: str) -> None:
    """§2.3, RFC 8020 §2 [23, 60]: with any type that a resolver may hide its question behind."""
    step = dns.name.from_text(name)
    while step != sample.APEX:
        answer = target.ask(step, kind, tcp=tcp)
        assert answer.rcode() == dns.rcode.NOERROR, step
        step = step.parent()


@pytest.mark.parametrize("name", ["x.wild", "a.b.wild", "wild", "x.cwild"])
def test_ns_below_a_wildcard(target: Target, tcp: bool, name: str) -> None:
    """§2.3 [25, 60]: the wildcard matches for every type, so NODATA or its alias."""
    answer = target.ask(f"{name}.example.test", "NS", tcp=tcp)
    assert answer.rcode() == dns.rcode.NOERROR
    if not answer.answer:
        assert negative_ttl(answer) == 60


def test_steps_down_to_a_cut(target: Target, tcp: bool) -> None:
    """§2.3 [28, 60]: a referral at the cut and at each name below."""
    for name in ("sub.example.test", "c.sub.example.test", "b.c.sub.example.test"):
        assert is_referral(target.resolve(name, "NS", tcp=tcp), "sub.example.test.")


def test_the_apex_is_where_it_is_said_to_be(target: Target, tcp: bool) -> None:
    """§2.3 [60]: NS at the apex with authority."""
    answer = target.ask("example.test", "NS", tcp=tcp)
    assert len(answer.answer[0]) == 2
