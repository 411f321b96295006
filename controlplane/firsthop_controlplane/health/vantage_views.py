"""What probers said of each address, and what each vantage says therefore.

Keeps views until they are replaced; whether a word counts is decided anew at each `hear`. Of
verdicts it knows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from firsthop_steering.feed.reports import ProbeReport
from firsthop_steering.feed.snapshot import VantageVerdict
from firsthop_steering.health.families import RelayAddress, probed, together
from firsthop_steering.health.quorum import AddressView, self_excluded, sight, vantage_words
from firsthop_steering.plan.model import Family, Liveness, Relay

NOBODY: frozenset[str] = frozenset()


@dataclass(slots=True)
class VantageViews:
    """Every prober's last views, and every vantage's word as of the last `hear`."""

    stale_after_s: float
    words: dict[RelayAddress, dict[str, AddressView]] = field(default_factory=dict)
    """Of each address, by vantage."""
    excluded: dict[Family, frozenset[str]] = field(default_factory=dict)
    """Vantages whose own network of that family is broken."""
    said: dict[str, dict[str, VantageVerdict]] = field(default_factory=dict)
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
            self._views.setdefault(address, {})[prober] = sight(
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

    def hear(self, relays: Mapping[str, Relay], now: datetime) -> None:
        """Let every vantage speak of every address that is to be checked."""
        addresses = {
            (name, family): relay for name, relay in relays.items() for family in probed(relay)
        }
        for gone in self._views.keys() - addresses.keys():
            del self._views[gone]
            self.certificates.pop(gone, None)
        at, before = now.timestamp(), self.words
        self.words = {
            address: self._heard(address, relay, before.get(address, {}), at)
            for address, relay in addresses.items()
        }
        self.excluded = self._self_excluded()
        self._say(now)

    def _heard(
        self, address: RelayAddress, relay: Relay, before: Mapping[str, AddressView], at: float
    ) -> dict[str, AddressView]:
        probe = relay.probe
        return vantage_words(
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
        for (_, family), words in self.words.items():
            by_family.setdefault(family, []).append(words)
        return {family: self_excluded(words) for family, words in by_family.items()}

    def _say(self, now: datetime) -> None:
        """Renew what is said of those relays of which some vantage says something else now."""
        before = self._votes
        self._votes = {
            address: _verdicts(words, self.excluded[address[1]])
            for address, words in self.words.items()
        }
        changed = {address[0] for address in before.keys() - self._votes.keys()}
        of_relay: dict[str, list[Family]] = {}
        for address, votes in self._votes.items():
            name, family = address
            of_relay.setdefault(name, []).append(family)
            if before.get(address) != votes:
                changed.add(name)
        self.said = {
            name: self._words_on(name, families, now) if name in changed else self.said[name]
            for name, families in of_relay.items()
        }

    def _words_on(
        self, name: str, families: list[Family], now: datetime
    ) -> dict[str, VantageVerdict]:
        heard: dict[str, dict[Family, Liveness]] = {}
        for family in families:
            for vantage, verdict in self._votes[name, family].items():
                heard.setdefault(vantage, {})[family] = verdict
        before = self.said.get(name, {})
        return {
            vantage: _word(before.get(vantage), verdicts, now)
            for vantage, verdicts in heard.items()
        }

    def last_check(self, address: RelayAddress) -> datetime | None:
        """When any prober last checked this address, by our clock; None: nobody speaks of it."""
        views = self._views.get(address)
        if not views:
            return None
        return datetime.fromtimestamp(max(view.checked_at for view in views.values()), UTC)


def _verdicts(words: Mapping[str, AddressView], out: frozenset[str]) -> dict[str, Liveness]:
    return {vantage: word.verdict for vantage, word in words.items() if vantage not in out}


def _word(
    before: VantageVerdict | None, families: dict[Family, Liveness], now: datetime
) -> VantageVerdict:
    if before is not None and before.families == families:
        return before
    verdict = together(families.values())
    since = before.since if before is not None and before.verdict == verdict else now
    return VantageVerdict(verdict=verdict, since=since, families=families)
