"""Makes verdicts on relays from the views of vantages: quorum, damping, depool guard.

Each address gets a verdict, and a relay the one that follows from its addresses. This module drives
the pure state machines of `firsthop_steering` and keeps their states in memory; previous verdicts
are passed in. It does not depend on agents, store or clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

import structlog

from firsthop_controlplane.health.depool_guard import DepoolGuard
from firsthop_controlplane.health.relay_verdict import (
    AddressVerdict,
    previous_liveness,
    relay_liveness,
    relay_verdict,
)
from firsthop_controlplane.health.vantage_views import NOBODY, ReportingProber, VantageViews
from firsthop_controlplane.health.verdict import Verdict
from firsthop_steering.feed.reports import ProbeReport
from firsthop_steering.feed.snapshot import VantageVerdict
from firsthop_steering.health.damping import Damping, hold, turned
from firsthop_steering.health.depool import Shares
from firsthop_steering.health.families import RelayAddress
from firsthop_steering.health.quorum import Count, count
from firsthop_steering.plan.model import Family, Liveness, Relay, State

log = structlog.get_logger(__name__)
FAMILIES: tuple[Family, ...] = ("ipv4", "ipv6")


class Guarded(NamedTuple):
    """A relay, or one of its addresses, that the depool guard keeps from turning down."""

    relay: str
    family: Family | Literal["all"]


class Excluded(NamedTuple):
    """A vantage whose network of one address family is broken."""

    vantage: str
    family: Family


_Found = dict[str, dict[Family, AddressVerdict]]
"""The verdicts on addresses, by relay and family."""


class VerdictEvaluator:
    """The views of all vantages, and recent turns of verdicts."""

    def __init__(self, stale_after_s: float, shares: Shares) -> None:
        """A view is fresh for at least `stale_after_s`; at most `shares` may be down."""
        self.stale_after_s = stale_after_s
        self.shares = shares
        self.excluded: frozenset[Excluded] = frozenset()
        """Vantages excluded by the last `evaluate`."""
        self.guarded: dict[Guarded, str] = {}
        """What the guard kept from turning down in the last `evaluate`, and why."""
        self._views = VantageViews(stale_after_s)
        self._damping: dict[RelayAddress, Damping] = {}
        self._failed: set[str] = set()
        """Relays that the last `evaluate` could not evaluate."""
        self._relay_guard = DepoolGuard("relays", shares)
        self._address_guards = {
            family: DepoolGuard(f"{family} addresses", shares) for family in FAMILIES
        }

    def take(self, report: ProbeReport, prober: ReportingProber, *, ahead_s: float) -> None:
        """Replace a part of a prober's previous report; its clock is `ahead_s` ahead of ours."""
        self._views.take(report, prober, ahead_s=ahead_s)

    def forget(self, prober: ReportingProber) -> None:
        """Drop everything that a prober reported."""
        self._views.forget(prober)

    def views(self, relay: str) -> Mapping[str, VantageVerdict]:
        """The view of a relay by each vantage that counts, as of the last `evaluate`."""
        return self._views.of_relays.get(relay, {})

    def certificate_ends(self, relay: str) -> datetime | None:
        """When the first of a relay's certificates expires; None if no prober received one."""
        known = self._views.certificates
        ends = [known[relay, family][0] for family in FAMILIES if (relay, family) in known]
        return min(ends, default=None)

    def evaluate(
        self,
        relays: Mapping[str, Relay],
        previous: Mapping[str, Verdict],
        *,
        settling: frozenset[str],
        now: datetime,
    ) -> dict[str, Verdict]:
        """Every relay's verdict, from the previous ones and the present views.

        A relay that is `settling`, or whose views cannot be evaluated because of a bug, keeps its
        verdict, and is not in the result.
        """
        at = now.timestamp()
        self._views.update(relays, now)
        self.excluded = frozenset(
            Excluded(vantage, family)
            for family, vantages in self._views.excluded.items()
            for vantage in vantages
        )
        for gone in self._damping.keys() - self._views.views.keys():
            del self._damping[gone]
        found = self._measure_all([relays[name] for name in relays.keys() - settling], previous, at)
        kept = self._guard(relays, previous, found, now)
        for name, addresses in found.items():
            self._note_turns(name, addresses, previous.get(name), at)
        return {
            name: relay_verdict(addresses, previous.get(name), kept.get(name), now)
            for name, addresses in found.items()
        }

    def _measure_all(
        self, relays: Iterable[Relay], previous: Mapping[str, Verdict], at: float
    ) -> _Found:
        found: _Found = {}
        failed: set[str] = set()
        for relay in relays:
            try:
                found[relay.id] = self._measure(relay, previous.get(relay.id), at)
            except Exception:  # otherwise one address would freeze the verdicts of all
                failed.add(relay.id)
                if relay.id not in self._failed:
                    log.exception("verdict.failed", relay=relay.id)
        self._failed = failed
        return found

    def _measure(
        self, relay: Relay, previous: Verdict | None, at: float
    ) -> dict[Family, AddressVerdict]:
        return {
            family: self._measure_address(relay, family, previous_liveness(previous, family), at)
            for family in relay.families_in_service
        }

    def _measure_address(
        self, relay: Relay, family: Family, previous: Liveness, at: float
    ) -> AddressVerdict:
        """The quorum's verdict on an address, or the previous one while damping holds it."""
        address = relay.id, family
        counted = count(
            self._views.views[address],
            self._views.excluded.get(family, NOBODY),
            previous,
        )
        if not counted.counted:
            return AddressVerdict(previous, self._why_frozen(address, counted), False)
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
                return AddressVerdict(previous, _with_causes(reason, counted), True)
        return AddressVerdict(counted.verdict, _with_causes(counted.summary, counted), True)

    def _why_frozen(self, address: RelayAddress, counted: Count) -> str:
        last = self._views.last_check(address)
        if last is None:
            return f"{counted.summary}, as no prober has reported"
        return f"{counted.summary}; last check at {last:%Y-%m-%d %H:%M:%S} UTC"

    def _note_turns(
        self,
        name: str,
        addresses: Mapping[Family, AddressVerdict],
        previous: Verdict | None,
        at: float,
    ) -> None:
        for family, (verdict, _, _) in addresses.items():
            before = previous_liveness(previous, family)
            if verdict != before:
                state = self._damping.get((name, family), Damping())
                self._damping[name, family] = turned(state, verdict, before, now=at)

    def _guard(
        self,
        relays: Mapping[str, Relay],
        previous: Mapping[str, Verdict],
        found: _Found,
        now: datetime,
    ) -> dict[str, str]:
        """Undo turns to down that would leave too few up; returns the relays kept, and why.

        Only active relays that no operator forces count. The verdicts of others change no answer,
        so they must neither use up the share that may be down nor be kept.

        Relays first, then the addresses of each family: the IPv6 addresses of a whole fleet must
        not go down either, even if every relay is up by its IPv4 address.
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
        previous: Mapping[str, Verdict],
        found: _Found,
        at: float,
    ) -> dict[str, str]:
        measured_down = {}
        for relay in active:
            name, before = relay.id, previous.get(relay.id)
            was_down = before is not None and before.verdict == "down"
            if relay_liveness(found[name], before) == "down" if name in found else was_down:
                measured_down[name] = was_down
        kept = self._relay_guard.refused(measured_down, active, at)
        for name, why in kept.items():
            self.guarded[Guarded(name, "all")] = why
            for family, measured in found[name].items():
                if measured.verdict == "down":
                    before_turn = previous_liveness(previous.get(name), family)
                    found[name][family] = measured._replace(verdict=before_turn)
        return kept

    def _guard_addresses(
        self,
        family: Family,
        active: Sequence[Relay],
        previous: Mapping[str, Verdict],
        found: _Found,
        at: float,
    ) -> None:
        present = [relay for relay in active if (relay.id, family) in self._views.views]
        measured_down = {}
        for relay in present:
            name = relay.id
            was_down = previous_liveness(previous.get(name), family) == "down"
            if found[name][family].verdict == "down" if name in found else was_down:
                measured_down[name] = was_down
        kept = self._address_guards[family].refused(measured_down, present, at)
        for name, why in kept.items():
            self.guarded[Guarded(name, family)] = why
            before = previous_liveness(previous.get(name), family)
            reason = f"stays {before}, {why}; measured: {found[name][family].reason}"
            found[name][family] = AddressVerdict(before, reason, True)


def _is_measured(relay: Relay, now: datetime) -> bool:
    """Whether measurements, not an operator, decide whether answers contain this relay."""
    forced = relay.forced is not None and relay.forced.active(now)
    return relay.state is State.ACTIVE and not forced


def _with_causes(reason: str, counted: Count) -> str:
    return f"{reason} ({counted.causes})" if counted.causes else reason
