"""Which addresses a prober checks."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from firsthop_healthchecks.prober.target_policy import TargetPolicy
from firsthop_steering.feed.reports import ProbeTarget
from firsthop_steering.plan.model import ProbeKind


def policy(allowed: str = "", denied: str = "") -> TargetPolicy:
    return TargetPolicy(
        allowed=tuple(map(ip_network, allowed.split())),
        denied=tuple(map(ip_network, denied.split())),
    )


def checked(address: str, using: TargetPolicy, kind: ProbeKind = "stun") -> bool:
    target = ProbeTarget(
        relay="r",
        kind=kind,
        address=ip_address(address),
        port=80,
        interval_s=1,
        timeout_s=1,
        rise=1,
        fall=1,
    )
    return using.refusal(target) is None


NEVER = [
    "169.254.169.254", "fe80::1%eth0", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200",
    "168.63.129.16", "192.0.0.192", "127.0.0.1", "::1", "0.0.0.0", "::", "224.0.0.1", "ff02::1",
    "255.255.255.255", "::ffff:169.254.169.254", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe",
]  # fmt: skip


@pytest.mark.parametrize("address", NEVER)
def test_addresses_denied_by_default(address: str) -> None:
    """Metadata, this host and what is no host; networks around them do not lift that."""
    assert not checked(address, policy())
    assert not checked(address, policy("0.0.0.0/0 ::/0"))
    assert not checked(address, policy("10.0.0.0/8"))
    alone = ip_network(address.partition("%")[0])
    assert checked(address, policy(f"{alone} 0.0.0.0/0"))
    assert not checked(address, policy(str(alone), denied="0.0.0.0/0 ::/0"))


PRIVATE = ["10.0.0.1", "172.30.0.11", "192.168.1.1", "100.64.0.1", "fd00::1", "192.0.2.1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_http_reads_private_services_only_where_that_is_allowed(address: str) -> None:
    """By `path` and `expect_body` an operator would read them, one yes or no at a time."""
    kinds: tuple[ProbeKind, ...] = ("http", "https")
    for kind in kinds:
        assert not checked(address, policy(), kind)
        assert checked(address, policy("0.0.0.0/0 ::/0"), kind)
        assert not checked(address, policy("0.0.0.0/0 ::/0", denied=f"{address}"), kind)
    assert checked(address, policy())
    assert checked(address, policy(), "tcp")


def test_public_addresses() -> None:
    """They are checked, unless an operator of the prober says otherwise."""
    for address in ("8.8.8.8", "2606:4700::1111"):
        assert checked(address, policy())
        assert checked(address, policy(), "http")
        assert not checked(address, policy("192.0.2.0/24"))
        assert not checked(address, policy(denied="8.0.0.0/8 2606::/16"))
