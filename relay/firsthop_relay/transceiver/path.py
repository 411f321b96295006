"""Where a session's packets go: the address that the peer last chose, and for how long. Pure.

Times are seconds of one clock that never goes back.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from firsthop_relay.transceiver.checks import CheckSource

MAX_SOURCES = 8
"""Addresses of one session at a time: three relays, two families and one that has moved."""
SILENCE_S = 3.0
"""Longer than libwebrtc waits between two checks of the pair that it uses (2.5 s)."""
CONSENT_S = 30.0
"""How long a peer that checks no more is sent to (RFC 7675 §5.1)."""


@dataclass(slots=True)
class Path:
    """One session's addresses."""

    began: float
    selected: CheckSource | None = None
    """Where packets go; None until the peer has chosen."""
    _sources: dict[CheckSource, float] = field(default_factory=dict)
    """Those that a check has vouched for, and when the last packet came; the oldest check first."""
    _checked: float | None = None

    @property
    def sources(self) -> tuple[CheckSource, ...]:
        """The addresses that a check has vouched for, last one last."""
        return tuple(self._sources)

    def check(self, source: CheckSource, now: float, *, nominated: bool) -> CheckSource | None:
        """A genuine check came from `source`; gives the address that is given up for it, if any.

        The peer chooses with USE-CANDIDATE (RFC 8445 §8.1.1). One that nominates once only, as
        aioice does, and then comes from another address, because its relay or NAT forgot it, is
        followed as soon as the address it had is silent.
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
        """Media or data came from `source`."""
        if source in self._sources:
            self._sources[source] = now

    def expired(self, now: float) -> bool:
        """Whether the peer has not checked for so long that nothing may be sent to it."""
        return now - (self.began if self._checked is None else self._checked) > CONSENT_S

    def _is_silent(self, now: float) -> bool:
        """Whether the chosen address has said nothing for a while; no choice is not silence."""
        if self.selected is None:
            return False
        return now - self._sources.get(self.selected, self.began) > SILENCE_S
