"""Decides when an edge is isolated from its control plane, and when its answers are stale."""

from __future__ import annotations

from collections.abc import Callable

from firsthop.edge.following.source import SnapshotSource
from firsthop_steering.planner.planner import PLAN_S, WARM_UP_S

SILENT_S = 60.0
"""Replicas hand over in seconds. An edge with no replica for this long is isolated, and marks its
DNS answers as stale."""
RETURNED_S = WARM_UP_S + 2 * PLAN_S
"""Even a leader that just started has planned after this time, so its prices are used from then."""


class IsolationDetector:
    """Whether an edge is isolated, given whether it is fed; times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self.isolated = False
        self._since = now
        """When an observation last agreed with `isolated`."""

    def look(self, *, fed: bool, now: float) -> bool:
        """Process an observation; returns whether it changes `isolated`."""
        if fed != self.isolated:  # the observation agrees
            self._since = now
        elif now - self._since >= (RETURNED_S if self.isolated else SILENT_S):
            self.isolated, self._since = not self.isolated, now
            return True
        return False


class FeedSilence:
    """How long no control plane has been connected, and whether answers are therefore stale."""

    def __init__(self, source: SnapshotSource, *, clock: Callable[[], float]) -> None:
        self._source = source
        self._clock = clock
        self._connected_at = clock()

    def stale(self) -> bool:
        """Whether answers are stale. Call often: connections between two calls are not noticed."""
        now = self._clock()
        if self._source.feed is None or self._source.connected_to:
            self._connected_at = now
        return now - self._connected_at > SILENT_S
