"""A relay's addresses, IPv4 and IPv6 apart: which are checked, and one verdict out of both."""

from __future__ import annotations

from collections.abc import Collection

from firsthop_steering.plan.model import Family, Liveness, Relay

RelayAddress = tuple[str, Family]
"""A relay's id, and which of its addresses."""


def probed(relay: Relay) -> tuple[Family, ...]:
    """The families of the addresses that are checked, IPv4 first; all, unless the probe names some.

    Never empty: a relay has an address, and the probe names none that it has not.
    """
    named = relay.probe.families
    found: list[Family] = []
    if relay.ipv4 is not None and (named is None or "ipv4" in named):
        found.append("ipv4")
    if relay.ipv6 is not None and (named is None or "ipv6" in named):
        found.append("ipv6")
    return tuple(found)


def together(verdicts: Collection[Liveness]) -> Liveness:
    """A relay is up by any of its addresses, and down when all are: `unknown` is never `down`."""
    if "up" in verdicts:
        return "up"
    return "unknown" if "unknown" in verdicts or not verdicts else "down"
