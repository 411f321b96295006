"""Whose fault an error is: a router on the path may cause most of them by ICMP."""

from __future__ import annotations

import asyncio
import errno
from asyncio.selector_events import BaseSelectorEventLoop
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import pytest

from firsthop_healthchecks.probes import Failed, ProbeOutcome, Unable
from firsthop_healthchecks.probes.kinds import KINDS
from firsthop_healthchecks.probes.source import ANY, SourceAddresses
from firsthop_ice.turn import turn_credential
from firsthop_steering.feed.reports import ProbeTarget

BY_ICMP = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EPERM)
"""What Linux gives a connected socket for ICMP (RFC 792) and ICMPv6 errors (RFC 4443 §3.1)."""
CONNECTED = sorted(KINDS.keys() - {"stun", "path", "icmp"})
"""Kinds whose sockets are connected, so that ICMP ends their checks; icmp needs a privilege."""
ELSEWHERE = SourceAddresses.parse("192.0.2.1,2001:db8::1")  # not addresses of this machine


async def outcome(
    kind: Any, source: SourceAddresses = ANY, address: str = "127.0.0.1"
) -> ProbeOutcome:
    probe = KINDS[kind](source)
    credential = turn_credential(
        "secret", name="probe", expires_at=datetime.now(UTC) + timedelta(hours=1)
    )
    target = ProbeTarget(
        relay="fra-1",
        kind=kind,
        address=ip_address(address),
        port=9,
        dns_name="a.example.",
        interval_s=1,
        timeout_s=5,
        rise=2,
        fall=3,
        ufrag=credential.username,
        password=credential.password,
    )
    try:
        return await probe.check(target)
    finally:
        await probe.close()


@pytest.mark.parametrize("number", BY_ICMP, ids=errno.errorcode.get)
@pytest.mark.parametrize("kind", CONNECTED)
async def test_what_a_router_reports_by_icmp_is_a_failure_of_the_target(
    kind: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relay whose network or firewall refuses its packets goes down like a silent one."""

    async def refused(*_: object) -> None:
        await asyncio.sleep(0)
        raise OSError(number, "by ICMP")

    for name in ("sock_connect", "sock_recv"):
        monkeypatch.setattr(BaseSelectorEventLoop, name, refused)
    assert isinstance(await outcome(kind), Failed)


@pytest.mark.parametrize("kind", [*CONNECTED, "icmp"])
async def test_no_own_address_is_our_own_fault(kind: str) -> None:
    assert isinstance(await outcome(kind, ELSEWHERE), Unable)


@pytest.mark.parametrize("kind", CONNECTED)
async def test_no_own_route_is_our_own_fault(kind: str) -> None:
    """From 127.0.0.1 no route leads to another machine."""
    assert isinstance(await outcome(kind, SourceAddresses.parse("127.0.0.1"), "192.0.2.9"), Unable)
