"""A relay's address families: which are probed, and how their verdicts combine."""

from __future__ import annotations

from collections.abc import Collection

from firsthop_steering.plan.model import Family, Liveness, Relay

RelayAddress = tuple[str, Family]
"""A relay's id and the family of one of its addresses."""


def probed(relay: Relay) -> tuple[Family, ...]:
    """The families to probe, IPv4 first: those listed in the probe, by default all.

    Never empty: a relay has an address, and its probe may only list families that the relay has.
    """
    named = relay.probe.families
    found: list[Family] = []
    if relay.ipv4 is not None and (named is None or "ipv4" in named):
        found.append("ipv4")
    if relay.ipv6 is not None and (named is None or "ipv6" in named):
        found.append("ipv6")
    return tuple(found)


def combined_verdict(verdicts: Collection[Liveness]) -> Liveness:
    """The combined verdict: up if any address is up, down if all are down, otherwise unknown."""
    if "up" in verdicts:
        return "up"
    return "unknown" if "unknown" in verdicts or not verdicts else "down"
