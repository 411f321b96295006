"""A relay's addresses: which are checked, one verdict out of several, and its slow start."""

from __future__ import annotations

import math

import pytest

from firsthop_steering.health.families import combined_verdict
from firsthop_steering.health.slow_start import next_step_s, share
from firsthop_steering.plan.model import Family, Liveness, Relay

BOTH = {"ipv4": "192.0.2.1", "ipv6": "2001:db8::1"}


@pytest.mark.parametrize(
    ("addresses", "families", "checked"),
    [
        (BOTH, None, ("ipv4", "ipv6")),
        (BOTH, ["ipv6"], ("ipv6",)),
        (BOTH, ["ipv6", "ipv4"], ("ipv4", "ipv6")),
        ({"ipv4": "192.0.2.1"}, None, ("ipv4",)),
        ({"ipv6": "2001:db8::1"}, None, ("ipv6",)),
    ],
)
def test_all_addresses_are_checked_unless_some_are_named(
    addresses: dict[str, str], families: list[str] | None, checked: tuple[Family, ...]
) -> None:
    relay = Relay.model_validate(
        {"id": "r", "region": "fra", **addresses, "probe": {"families": families}}
    )
    assert relay.families_in_service == checked


@pytest.mark.parametrize(
    ("verdicts", "verdict"),
    [
        (("up", "down"), "up"),
        (("up", "unknown"), "up"),
        (("down", "unknown"), "unknown"),
        (("down", "down"), "down"),
        (("down",), "down"),
        ((), "unknown"),
    ],
)
def test_a_relay_is_down_only_when_all_its_addresses_are(
    verdicts: tuple[Liveness, ...], verdict: Liveness
) -> None:
    assert combined_verdict(verdicts) == verdict


def test_a_share_rises_in_equal_steps_to_the_whole() -> None:
    """20 at once, 100 after the whole time; its steps are as long as `next_step_s` says."""
    assert [share(100.0, 100.0 + s, 10.0) for s in (0, 2.4, 2.5, 5, 7.5, 9.9, 10, 1e9)] == [
        *(20, 20, 40, 60, 80, 80, 100, 100)
    ]
    assert next_step_s(20, 10.0) == 2.5
    assert next_step_s(100, 10.0) == math.inf


def test_who_did_not_return_or_starts_at_once_has_it_whole() -> None:
    assert share(None, 5.0, 10.0) == 100
    assert share(5.0, 5.0, 0.0) == 100
    assert share(5.0, 4.0, 10.0) == 20, "a clock set back since is as the return"
