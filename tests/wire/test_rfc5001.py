"""RFC 5001: NSID."""

from __future__ import annotations

import dns.edns
import pytest

from wire.servers.same import NSID
from wire.target import Target, options_of


@pytest.mark.parametrize("name", ["www.example.test", "nosuch.example.test", "nosuch.invalid"])
def test_nsid_when_asked(target: Target, tcp: bool, name: str) -> None:
    """§2.2, §2.3 [35]: once, as the operator set it, in every answer; zero length is a request."""
    answer = target.ask(name, tcp=tcp, options=[dns.edns.GenericOption(3, b"")])
    assert options_of(answer, 3) == [NSID.encode()]


def test_what_the_request_holds_is_ignored(target: Target, tcp: bool) -> None:
    """§2.2 [35]: never echoed."""
    answer = target.ask("example.test", tcp=tcp, options=[dns.edns.GenericOption(3, b"mine")])
    assert b"mine" not in options_of(answer, 3)


def test_nsid_only_when_asked(target: Target, tcp: bool) -> None:
    """§2.2 [35]."""
    assert options_of(target.ask("example.test", tcp=tcp), 3) == []
