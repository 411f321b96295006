"""What vantages say, and the verdict on each relay that follows: quorum, damping, depool guard.

Each address of a relay is judged by itself, and the relay by its addresses. Drives the pure
machines of `firsthop_steering` and keeps their states in memory. What stood before is handed in,
and nothing is known of agents, the store or the clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from firsthop_controlplane.health.depool_guard import DepoolGuard
from firsthop_controlplane.health.vantage_views import NOBODY, VantageViews
from firsthop_steering.feed.reports import ProbeReport
from firsthop_steering.feed.snapshot import VantageVerdict
from firsthop_steering.health.damping import Damping, hold, turned
from firsthop_steering.health.depool import Shares
from firsthop_steering.health.families import RelayAddress, combined_verdict, probed
from firsthop_steering.health.quorum import Count, count
from firsthop_steering.plan.model import Family, Liveness, Relay, State

REASON_LIMIT = 500
FAMILIES: tuple[Family, ...] = ("ipv4", "ipv6")


class Opinion(NamedTuple):
    """The verdict on one relay, and the sentence that explains it."""

    verdict: Liveness
    reason: str
    families: Mapping[Family, Liveness] = {}
    """On each address that is checked; empty: none was judged by itself so far."""


class Guarded(NamedTuple):
    """What the depool guard keeps from turning down."""

    relay: str
    family: Family | Literal["all"]


class Excluded(NamedTuple):
    """A vantage whose network of one family is broken."""

    vantage: str
    family: Family


class _Measured(NamedTuple):
    """One address."""

    verdict: Liveness
    reason: str
    is_seen: bool
    """Some vantage speaks of it, and counts."""


_Found = dict[str, dict[Family, _Measured]]


class Verdicts:
    """Everything that probers said, and how the relays' verdicts turned of late."""

    def __init__(self, stale_after_s: float, shares: Shares) -> None:
        """A view counts for `stale_after_s`, at least; no more than `shares` may be down."""
        self.stale_after_s = stale_after_s
        self.shares = shares
        self.excluded: frozenset[Excluded] = frozenset()
        """As of the last `judge`."""
        self.guarded: dict[Guarded, str] = {}
        """Who is kept from turning down, and why."""
        self._vantage_views = VantageViews(stale_after_s)
        self._damping: dict[RelayAddress, Damping] = {}
        self._relays = DepoolGuard("relays", shares)
        self._addresses = {
            family: DepoolGuard(f"{family} addresses", shares) for family in FAMILIES
        }

    def take(self, report: ProbeReport, *, ahead_s: float) -> None:
        """A prober's views in place of its last ones; its clock is `ahead_s` ahead of ours."""
        self._vantage_views.take(report, ahead_s=ahead_s)

    def vantage_verdicts(self, relay: str) -> Mapping[str, VantageVerdict]:
        """What each vantage that counts says of a relay by itself, as of the last `judge`."""
        return self._vantage_views.vantage_verdicts.get(relay, {})

    def certificate_ends(self, relay: str) -> datetime | None:
        """When the first certificate of a relay expires; None where none was shown."""
        known = self._vantage_views.certificates
        ends = [known[relay, family] for family in FAMILIES if (relay, family) in known]
        return min(ends, default=None)

    def judge(
        self,
        relays: Mapping[str, Relay],
        previous: Mapping[str, Opinion],
        *,
        settling: frozenset[str],
        now: datetime,
    ) -> dict[str, Opinion]:
        """Every relay's verdict from what stood before and what is seen now.

        A relay that is `settling` is left as it is, and not in the answer.
        """
        at = now.timestamp()
        self._vantage_views.evaluate(relays, now)
        self.excluded = frozenset(
            Excluded(vantage, family)
            for family, vantages in self._vantage_views.excluded.items()
            for vantage in vantages
        )
        for gone in self._damping.keys() - self._vantage_views.vantage_views.keys():
            del self._damping[gone]
        found: _Found = {}
        for name in relays.keys() - settling:
            found[name] = self._measure(relays[name], previous.get(name), at)
        kept = self._guard(relays, previous, found, now)
        for name, addresses in found.items():
            self._note_turns(name, addresses, previous.get(name), at)
        return {
            name: _opinion(addresses, previous.get(name), kept.get(name))
            for name, addresses in found.items()
        }

    def _measure(
        self, relay: Relay, previous: Opinion | None, at: float
    ) -> dict[Family, _Measured]:
        return {
            family: self._measure_one(relay, family, _stood(previous, family), at)
            for family in probed(relay)
        }

    def _measure_one(
        self, relay: Relay, family: Family, previous: Liveness, at: float
    ) -> _Measured:
        """What is measured, unless it has to wait."""
        address = relay.id, family
        counted = count(
            self._vantage_views.vantage_views[address],
            self._vantage_views.excluded.get(family, NOBODY),
            previous,
        )
        if not counted.counted:
            return _Measured(previous, self._frozen(address, counted), False)
        if counted.verdict != previous:
            held = hold(
                self._damping.get(address, Damping()),
                counted.verdict,
                previous=previous,
                counted=counted.counted,
                fall=relay.probe.fall,
                now=at,
            )
            if held is not None:
                self._damping[address] = held.state
                reason = f"{counted.summary}; stays {previous}, {held.why}"
                return _Measured(previous, _with_causes(reason, counted), True)
        return _Measured(counted.verdict, _with_causes(counted.summary, counted), True)

    def _frozen(self, address: RelayAddress, counted: Count) -> str:
        last = self._vantage_views.last_check(address)
        if last is None:
            return f"{counted.summary}, as no prober has reported"
        return f"{counted.summary}; last check at {last:%Y-%m-%d %H:%M:%S} UTC"

    def _note_turns(
        self,
        name: str,
        addresses: Mapping[Family, _Measured],
        previous: Opinion | None,
        at: float,
    ) -> None:
        for family, (verdict, _, _) in addresses.items():
            stood = _stood(previous, family)
            if verdict != stood:
                state = self._damping.get((name, family), Damping())
                self._damping[name, family] = turned(state, verdict, stood, now=at)

    def _guard(
        self,
        relays: Mapping[str, Relay],
        previous: Mapping[str, Opinion],
        found: _Found,
        now: datetime,
    ) -> dict[str, str]:
        """Take back turns to down that would leave too few.

        Only active relays count, and of those none that an operator forces: its verdict changes no
        answer, so it must neither use up what may fall nor be kept.

        First of relays, then of the addresses of each family: the IPv6 of a whole fleet does not
        fall either, though every relay is up by its IPv4. The relays that stay, and why.
        """
        active, at = [each for each in relays.values() if _is_measured(each, now)], now.timestamp()
        self.guarded = {}
        kept = self._guard_relays(active, previous, found, at)
        for family in FAMILIES:
            self._guard_addresses(family, active, previous, found, at)
        return kept

    def _guard_relays(
        self,
        active: Sequence[Relay],
        previous: Mapping[str, Opinion],
        found: _Found,
        at: float,
    ) -> dict[str, str]:
        fallen = {}
        for relay in active:
            name, before = relay.id, previous.get(relay.id)
            was_down = before is not None and before.verdict == "down"
            if _verdict(found[name], before) == "down" if name in found else was_down:
                fallen[name] = was_down
        kept = self._relays.refused(fallen, active, at)
        for name, why in kept.items():
            self.guarded[Guarded(name, "all")] = why
            for family, measured in found[name].items():
                if measured.verdict == "down":
                    stood = _stood(previous.get(name), family)
                    found[name][family] = measured._replace(verdict=stood)
        return kept

    def _guard_addresses(
        self,
        family: Family,
        active: Sequence[Relay],
        previous: Mapping[str, Opinion],
        found: _Found,
        at: float,
    ) -> None:
        present = [
            relay for relay in active if (relay.id, family) in self._vantage_views.vantage_views
        ]
        fallen = {}
        for relay in present:
            name = relay.id
            was_down = _stood(previous.get(name), family) == "down"
            if found[name][family].verdict == "down" if name in found else was_down:
                fallen[name] = was_down
        for name, why in self._addresses[family].refused(fallen, present, at).items():
            self.guarded[Guarded(name, family)] = why
            stood = _stood(previous.get(name), family)
            reason = f"stays {stood}, {why}; measured: {found[name][family].reason}"
            found[name][family] = _Measured(stood, reason, True)


def _is_measured(relay: Relay, now: datetime) -> bool:
    """Whether it is by measurement that this relay is answered with or not."""
    forced = relay.forced is not None and relay.forced.active(now)
    return relay.state is State.ACTIVE and not forced


def _stood(previous: Opinion | None, family: Family) -> Liveness:
    """The verdict on one address before.

    Of what the run before left only the relay's is known: it is taken for each of its addresses
    until they are judged. An address that is new beside others starts as unknown.
    """
    if previous is None:
        return "unknown"
    return previous.families.get(family, "unknown") if previous.families else previous.verdict


def _verdict(addresses: Mapping[Family, _Measured], previous: Opinion | None) -> Liveness:
    """A relay's, from its addresses; one that no vantage ever saw says nothing beside another.

    Otherwise a relay with an IPv6 address that no prober can reach would never be down.
    """
    was_judged = previous is not None and bool(previous.families)
    seen = [
        verdict
        for verdict, _, is_seen in addresses.values()
        if is_seen or (was_judged and verdict != "unknown")
    ]
    return combined_verdict(seen or [each.verdict for each in addresses.values()])


def _opinion(
    addresses: Mapping[Family, _Measured], previous: Opinion | None, kept: str | None
) -> Opinion:
    verdict, reason = _verdict(addresses, previous), _sentence(addresses)
    if kept is not None:
        verdict = previous.verdict if previous else "unknown"
        reason = f"stays {verdict}, {kept}; measured: {reason}"
    return Opinion(verdict, reason[:REASON_LIMIT], _families(addresses, previous))


def _families(
    addresses: Mapping[Family, _Measured], previous: Opinion | None
) -> dict[Family, Liveness]:
    """Each by itself; what was only taken from the relay's verdict does not pass for measured."""
    if previous is not None and previous.families:
        return {family: verdict for family, (verdict, _, _) in addresses.items()}
    if not any(is_seen for _, _, is_seen in addresses.values()):
        return {}
    return {
        family: verdict if is_seen else "unknown"
        for family, (verdict, _, is_seen) in addresses.items()
    }


_WORST_FIRST = {"down": 0, "unknown": 1, "up": 2}


def _sentence(addresses: Mapping[Family, _Measured]) -> str:
    """What is said of the one address, or of both, the worse first; neither hides the other."""
    parts = [f"{family}: {reason}" for family, (_, reason, _) in addresses.items()]
    if len(parts) == 1:
        return next(iter(addresses.values())).reason
    first, second = addresses.values()
    if _WORST_FIRST[second.verdict] < _WORST_FIRST[first.verdict]:
        parts.reverse()
    if sum(map(len, parts)) > REASON_LIMIT - 2:
        parts = [part[: REASON_LIMIT // 2 - 1] for part in parts]
    return "; ".join(parts)


def _with_causes(summary: str, counted: Count) -> str:
    return f"{summary} ({counted.causes})" if counted.causes else summary
