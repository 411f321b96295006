"""What probers said of each address, and what each vantage says therefore.

Keeps views until they are replaced; whether a word counts is decided anew at each `evaluate`. Of
verdicts it knows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from firsthop_steering.feed.reports import ProbeReport
from firsthop_steering.feed.snapshot import VantageVerdict
from firsthop_steering.health.families import RelayAddress, combined_verdict, probed
from firsthop_steering.health.quorum import (
    AddressView,
    self_excluded,
    updated_view,
    views_of_vantages,
)
from firsthop_steering.plan.model import Family, Liveness, Relay

NOBODY: frozenset[str] = frozenset()


@dataclass(slots=True)
class VantageViews:
    """Every prober's last views, and every vantage's word as of the last `evaluate`."""

    stale_after_s: float
    vantage_views: dict[RelayAddress, dict[str, AddressView]] = field(default_factory=dict)
    """Of each address, by vantage."""
    excluded: dict[Family, frozenset[str]] = field(default_factory=dict)
    """Vantages whose own network of that family is broken."""
    vantage_verdicts: dict[str, dict[str, VantageVerdict]] = field(default_factory=dict)
    """Of each relay, by vantage; the excluded are not heard."""
    certificates: dict[RelayAddress, datetime] = field(default_factory=dict)
    """When the certificate at an address expires, by the last prober that was shown one."""
    _views: dict[RelayAddress, dict[str, AddressView]] = field(default_factory=dict)
    """Of each address, by prober."""
    _votes: dict[RelayAddress, dict[str, Liveness]] = field(default_factory=dict)
    """Of each address, by vantage that counts."""
    _vantage_of: dict[str, str] = field(default_factory=dict)
    _checks: dict[str, dict[RelayAddress, datetime]] = field(default_factory=dict)
    """When a prober last checked each address, by its own clock: tells a new check from an old."""

    def take(self, report: ProbeReport, *, ahead_s: float) -> None:
        """A prober's views in place of its last ones; its clock is `ahead_s` ahead of ours."""
        prober = report.prober
        old = {address: views.pop(prober, None) for address, views in self._views.items()}
        before = self._checks.get(prober, {})
        checks = self._checks[prober] = {}
        for view in report.views:
            address = view.relay, view.family
            self._views.setdefault(address, {})[prober] = updated_view(
                old.get(address),
                view.verdict,
                checked_at=view.checked_at.timestamp() - ahead_s,
                cause=view.reason,
                is_new=before.get(address) != view.checked_at,
            )
            checks[address] = view.checked_at
            if view.certificate_ends is not None:
                self.certificates[address] = view.certificate_ends
        self._vantage_of[prober] = report.vantage

    def evaluate(self, relays: Mapping[str, Relay], now: datetime) -> None:
        """Let every vantage speak of every address that is to be checked."""
        addresses = {
            (name, family): relay for name, relay in relays.items() for family in probed(relay)
        }
        for gone in self._views.keys() - addresses.keys():
            del self._views[gone]
            self.certificates.pop(gone, None)
        at, before = now.timestamp(), self.vantage_views
        self.vantage_views = {
            address: self._views_of(address, relay, before.get(address, {}), at)
            for address, relay in addresses.items()
        }
        self.excluded = self._self_excluded()
        self._renew_verdicts(now)

    def _views_of(
        self, address: RelayAddress, relay: Relay, before: Mapping[str, AddressView], at: float
    ) -> dict[str, AddressView]:
        probe = relay.probe
        return views_of_vantages(
            self._views.get(address, {}),
            self._vantage_of,
            before=before,
            now=at,
            # Three checks missed, where checks are rarer than the common limit.
            stale_after_s=max(self.stale_after_s, 3 * probe.interval_s + probe.timeout_s),
        )

    def _self_excluded(self) -> dict[Family, frozenset[str]]:
        """By family: a vantage whose IPv6 is broken keeps its word on IPv4."""
        by_family: dict[Family, list[Mapping[str, AddressView]]] = {}
        for (_, family), vantage_views in self.vantage_views.items():
            by_family.setdefault(family, []).append(vantage_views)
        return {family: self_excluded(vantage_views) for family, vantage_views in by_family.items()}

    def _renew_verdicts(self, now: datetime) -> None:
        """Renew what is said of those relays of which some vantage says something else now."""
        before = self._votes
        self._votes = {
            address: _verdicts(vantage_views, self.excluded[address[1]])
            for address, vantage_views in self.vantage_views.items()
        }
        changed = {address[0] for address in before.keys() - self._votes.keys()}
        of_relay: dict[str, list[Family]] = {}
        for address, votes in self._votes.items():
            name, family = address
            of_relay.setdefault(name, []).append(family)
            if before.get(address) != votes:
                changed.add(name)
        self.vantage_verdicts = {
            name: self._verdicts_on(name, families, now)
            if name in changed
            else self.vantage_verdicts[name]
            for name, families in of_relay.items()
        }

    def _verdicts_on(
        self, name: str, families: list[Family], now: datetime
    ) -> dict[str, VantageVerdict]:
        by_vantage: dict[str, dict[Family, Liveness]] = {}
        for family in families:
            for vantage, verdict in self._votes[name, family].items():
                by_vantage.setdefault(vantage, {})[family] = verdict
        before = self.vantage_verdicts.get(name, {})
        return {
            vantage: _vantage_verdict(before.get(vantage), verdicts, now)
            for vantage, verdicts in by_vantage.items()
        }

    def last_check(self, address: RelayAddress) -> datetime | None:
        """When any prober last checked this address, by our clock; None: nobody speaks of it."""
        views = self._views.get(address)
        if not views:
            return None
        return datetime.fromtimestamp(max(view.checked_at for view in views.values()), UTC)


def _verdicts(vantage_views: Mapping[str, AddressView], out: frozenset[str]) -> dict[str, Liveness]:
    return {vantage: view.verdict for vantage, view in vantage_views.items() if vantage not in out}


def _vantage_verdict(
    before: VantageVerdict | None, families: dict[Family, Liveness], now: datetime
) -> VantageVerdict:
    if before is not None and before.families == families:
        return before
    verdict = combined_verdict(families.values())
    since = before.since if before is not None and before.verdict == verdict else now
    return VantageVerdict(verdict=verdict, since=since, families=families)
