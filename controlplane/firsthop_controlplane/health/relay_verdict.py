"""Combines the verdicts on a relay's addresses into the verdict on the relay."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from firsthop_controlplane.health.verdict import Verdict
from firsthop_steering.health.families import combined_verdict
from firsthop_steering.plan.model import Family, Liveness

REASON_LIMIT = 500


class AddressVerdict(NamedTuple):
    """The verdict on one address, after quorum, damping and guard."""

    verdict: Liveness
    reason: str
    is_seen: bool
    """Whether some vantage has a view of it that counts."""


def previous_liveness(previous: Verdict | None, family: Family) -> Liveness:
    """The previous verdict on one address.

    If only the relay's verdict is known, it stands for each address until they are evaluated. A
    new address of a relay whose other address has a verdict is unknown.
    """
    if previous is None:
        return "unknown"
    return previous.families.get(family, "unknown") if previous.families else previous.verdict


def relay_liveness(
    addresses: Mapping[Family, AddressVerdict], previous: Verdict | None
) -> Liveness:
    """A relay's verdict from its addresses; one that no vantage ever saw is ignored beside another.

    Otherwise a relay with an IPv6 address that no prober can reach would never be down.
    """
    was_judged = previous is not None and bool(previous.families)
    seen = [
        verdict
        for verdict, _, is_seen in addresses.values()
        if is_seen or (was_judged and verdict != "unknown")
    ]
    return combined_verdict(seen or [each.verdict for each in addresses.values()])


def relay_verdict(
    addresses: Mapping[Family, AddressVerdict],
    previous: Verdict | None,
    kept: str | None,
    now: datetime,
) -> Verdict:
    """The relay's verdict; `kept` is the reason if the guard keeps the previous one."""
    verdict, reason = relay_liveness(addresses, previous), _reason(addresses)
    if kept is not None:
        verdict = previous.verdict if previous else "unknown"
        reason = f"stays {verdict}, {kept}; measured: {reason}"
    is_same = previous is not None and previous.verdict == verdict
    since = previous.since if previous is not None and is_same else now
    return Verdict(verdict, since, reason[:REASON_LIMIT], _families(addresses, previous))


def _families(
    addresses: Mapping[Family, AddressVerdict], previous: Verdict | None
) -> dict[Family, Liveness]:
    """The verdict on each address; one that was only taken from the relay's is not included."""
    if previous is not None and previous.families:
        return {family: verdict for family, (verdict, _, _) in addresses.items()}
    if not any(is_seen for _, _, is_seen in addresses.values()):
        return {}
    return {
        family: verdict if is_seen else "unknown"
        for family, (verdict, _, is_seen) in addresses.items()
    }


_WORST_FIRST = {"down": 0, "unknown": 1, "up": 2}


def _reason(addresses: Mapping[Family, AddressVerdict]) -> str:
    """The reason of the only address, or of both, the worse first; shortened if too long."""
    parts = [f"{family}: {reason}" for family, (_, reason, _) in addresses.items()]
    if len(parts) == 1:
        return next(iter(addresses.values())).reason
    first, second = addresses.values()
    if _WORST_FIRST[second.verdict] < _WORST_FIRST[first.verdict]:
        parts.reverse()
    if sum(map(len, parts)) > REASON_LIMIT - 2:
        parts = [part[: REASON_LIMIT // 2 - 1] for part in parts]
    return "; ".join(parts)
