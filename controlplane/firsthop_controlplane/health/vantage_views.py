"""The last report of each prober on each address, and the resulting view of each vantage.

Reports are kept until they are replaced; each `update` checks anew which are fresh. This module
makes no verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from firsthop_steering.feed.reports import ProbeReport
from firsthop_steering.feed.snapshot import VantageVerdict
from firsthop_steering.health.families import RelayAddress, combined_verdict
from firsthop_steering.health.quorum import (
    AddressView,
    self_excluded,
    updated_view,
    views_of_vantages,
)
from firsthop_steering.plan.model import Family, Liveness, Relay

NOBODY: frozenset[str] = frozenset()


class ReportingProber(NamedTuple):
    """One prober: no token can speak for the prober of another token, whatever name it uses."""

    token: str
    """Id of the token that it reports with."""
    name: str


@dataclass(slots=True)
class VantageViews:
    """The last report of every prober, and the views of every vantage as of the last `update`."""

    stale_after_s: float
    views: dict[RelayAddress, dict[str, AddressView]] = field(default_factory=dict)
    """Views of each address, by vantage."""
    excluded: dict[Family, frozenset[str]] = field(default_factory=dict)
    """Vantages whose own network is broken, by address family."""
    of_relays: dict[str, dict[str, VantageVerdict]] = field(default_factory=dict)
    """The view of each whole relay, by vantage; without the excluded vantages."""
    certificates: dict[RelayAddress, tuple[datetime, ReportingProber]] = field(default_factory=dict)
    """When the certificate at an address expires, and the prober that received it last."""
    _reported: dict[RelayAddress, dict[ReportingProber, AddressView]] = field(default_factory=dict)
    """Views of each address, by prober."""
    _counted: dict[RelayAddress, dict[str, Liveness]] = field(default_factory=dict)
    """Liveness of each address, by vantage; without the excluded vantages."""
    _vantage_of: dict[ReportingProber, str] = field(default_factory=dict)
    _checks: dict[ReportingProber, dict[RelayAddress, tuple[int, datetime]]] = field(
        default_factory=dict
    )
    """The part of each prober's report that has an address, and when the prober last checked it,
    by its own clock, which separates new from old checks."""

    def take(self, report: ProbeReport, prober: ReportingProber, *, ahead_s: float) -> None:
        """Replace a part of a prober's previous report; its clock is `ahead_s` ahead of ours."""
        checks = self._checks.setdefault(prober, {})
        before = dict(checks)
        for address, (part, _) in before.items():
            if part == report.part or part > report.parts:
                del checks[address]
        for view in report.views:
            address = view.relay, view.family
            views = self._reported.setdefault(address, {})
            _, last = before.get(address, (0, None))
            views[prober] = updated_view(
                views.get(prober),
                view.verdict,
                checked_at=view.checked_at.timestamp() - ahead_s,
                cause=view.reason,
                is_new=last != view.checked_at,
            )
            checks[address] = report.part, view.checked_at
            if view.certificate_ends is not None:
                self.certificates[address] = view.certificate_ends, prober
        for address in before.keys() - checks.keys():
            self._reported.get(address, {}).pop(prober, None)
        self._vantage_of[prober] = report.vantage

    def forget(self, prober: ReportingProber) -> None:
        """Drop everything that a prober reported."""
        for address in self._checks.pop(prober, {}):
            self._reported.get(address, {}).pop(prober, None)
        self.certificates = {
            address: known for address, known in self.certificates.items() if known[1] != prober
        }
        self._vantage_of.pop(prober, None)

    def update(self, relays: Mapping[str, Relay], now: datetime) -> None:
        """Compute the view of every vantage of every probed address."""
        addresses = {
            (name, family): relay
            for name, relay in relays.items()
            for family in relay.families_in_service
        }
        for gone in self._reported.keys() - addresses.keys():
            del self._reported[gone]
            self.certificates.pop(gone, None)
            for checks in self._checks.values():
                checks.pop(gone, None)
        at, before = now.timestamp(), self.views
        self.views = {
            address: self._views_of(address, relay, before.get(address, {}), at)
            for address, relay in addresses.items()
        }
        self.excluded = self._self_excluded()
        self._update_relays(now)

    def _views_of(
        self, address: RelayAddress, relay: Relay, before: Mapping[str, AddressView], at: float
    ) -> dict[str, AddressView]:
        probe = relay.probe
        return views_of_vantages(
            self._reported.get(address, {}),
            self._vantage_of,
            before=before,
            now=at,
            # Three missed checks, if checks are rarer than the common limit.
            stale_after_s=max(self.stale_after_s, 3 * probe.interval_s + probe.timeout_s),
        )

    def _self_excluded(self) -> dict[Family, frozenset[str]]:
        """Excluded by family: a vantage whose IPv6 is broken still counts for IPv4."""
        by_family: dict[Family, list[Mapping[str, AddressView]]] = {}
        for (_, family), views in self.views.items():
            by_family.setdefault(family, []).append(views)
        return {family: self_excluded(views) for family, views in by_family.items()}

    def _update_relays(self, now: datetime) -> None:
        """Update the views of the relays for which some vantage's view changed."""
        before = self._counted
        self._counted = {
            address: _without(views, self.excluded[address[1]])
            for address, views in self.views.items()
        }
        changed = {address[0] for address in before.keys() - self._counted.keys()}
        families_of: dict[str, list[Family]] = {}
        for address, counted in self._counted.items():
            name, family = address
            families_of.setdefault(name, []).append(family)
            if before.get(address) != counted:
                changed.add(name)
        self.of_relays = {
            name: self._of_relay(name, families, now) if name in changed else self.of_relays[name]
            for name, families in families_of.items()
        }

    def _of_relay(
        self, name: str, families: list[Family], now: datetime
    ) -> dict[str, VantageVerdict]:
        by_vantage: dict[str, dict[Family, Liveness]] = {}
        for family in families:
            for vantage, liveness in self._counted[name, family].items():
                by_vantage.setdefault(vantage, {})[family] = liveness
        before = self.of_relays.get(name, {})
        return {
            vantage: _relay_view(before.get(vantage), views, now)
            for vantage, views in by_vantage.items()
        }

    def last_check(self, address: RelayAddress) -> datetime | None:
        """When any prober last checked this address, by our clock; None if none reports on it."""
        views = self._reported.get(address)
        if not views:
            return None
        return datetime.fromtimestamp(max(view.checked_at for view in views.values()), UTC)


def _without(views: Mapping[str, AddressView], excluded: frozenset[str]) -> dict[str, Liveness]:
    return {vantage: view.verdict for vantage, view in views.items() if vantage not in excluded}


def _relay_view(
    before: VantageVerdict | None, families: dict[Family, Liveness], now: datetime
) -> VantageVerdict:
    if before is not None and before.families == families:
        return before
    verdict = combined_verdict(families.values())
    since = before.since if before is not None and before.verdict == verdict else now
    return VantageVerdict(verdict=verdict, since=since, families=families)
