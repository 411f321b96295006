"""The address to which a session's packets are sent, and for how long (consent). Pure.

Times are seconds on a monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from firsthop_ice.answered_checks import AnsweredChecks
from firsthop_relay.transceiver.checks import CheckSource

MAX_SOURCES = 8
"""Most addresses of a session at a time: three relays in two families, and a client that moves."""
SILENCE_S = 3.0
"""Seconds without a packet after which an address counts as silent; more than libwebrtc's interval
between checks of the selected pair (2.5 s)."""
ANSWERED_CHECKS = 1024
"""Answered checks of a session that are remembered, so that replays of them select no address."""
CONSENT_S = 30.0
"""Seconds for which packets are sent to a peer after its last check (RFC 7675 §5.1)."""


@dataclass(slots=True)
class Path:
    """One session's addresses."""

    began: float
    answered: AnsweredChecks = field(default_factory=lambda: AnsweredChecks(ANSWERED_CHECKS))
    selected: CheckSource | None = None
    """The address to which packets are sent; None until the peer has chosen one."""
    _sources: dict[CheckSource, float] = field(default_factory=dict)
    """Addresses that sent a genuine check, with the time of their last packet; oldest check first.
    """
    _checked: float | None = None

    @property
    def sources(self) -> tuple[CheckSource, ...]:
        """Addresses that sent a genuine check, the latest last."""
        return tuple(self._sources)

    def check(self, source: CheckSource, now: float, *, nominated: bool) -> CheckSource | None:
        """Note a genuine check from `source`; returns the address that is dropped for it, if any.

        The peer chooses an address with USE-CANDIDATE (RFC 8445 §8.1.1). Some peers, such as
        aioice, nominate only once. If such a peer appears at another address, because its relay or
        NAT lost its state, that address is selected as soon as the former one is silent.
        """
        self._sources.pop(source, None)
        self._sources[source] = self._checked = now
        if nominated or self._is_silent(now):
            self.selected = source
        if len(self._sources) <= MAX_SOURCES:
            return None
        oldest = next(each for each in self._sources if each != self.selected)
        del self._sources[oldest]
        return oldest

    def heard(self, source: CheckSource, now: float) -> None:
        """Note media or data from `source`."""
        if source in self._sources:
            self._sources[source] = now

    def expired(self, now: float) -> bool:
        """Whether consent has expired: the last check is too long ago."""
        return now - (self.began if self._checked is None else self._checked) > CONSENT_S

    def _is_silent(self, now: float) -> bool:
        """Whether the selected address, if any, has sent nothing for SILENCE_S."""
        if self.selected is None:
            return False
        return now - self._sources.get(self.selected, self.began) > SILENCE_S
