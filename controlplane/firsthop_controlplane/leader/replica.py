"""The state of leadership as this replica knows it: whether it leads, the term, the leader.

`Election` writes it; all code that depends on the leadership reads it.
"""

from __future__ import annotations

from collections.abc import Callable

from firsthop_controlplane.leader.leadership import (
    Leader,
    LeadershipState,
    Lease,
    Standby,
    may_publish,
)


class ReplicaLeadership:
    """The present state of one replica; a standby until it wins an election."""

    def __init__(self, *, url: str, clock: Callable[[], float]) -> None:
        """Other replicas reach this one at `url`; `clock` is monotonic, in seconds."""
        self.url = url
        self.clock = clock
        self.state: LeadershipState = Standby()
        self.predecessor: Lease | None = None
        """The lease of this leader's predecessor, until that one knows that it was replaced."""
        self.hand_overs = 0
        """Number of times that this replica began to lead."""
        self.lease_read_at: float | None = None
        """When the database last returned a lease."""

    def advertise(self, url: str) -> None:
        """Set the URL at which other replicas reach this one, once it listens."""
        self.url = url

    @property
    def leads(self) -> bool:
        return isinstance(self.state, Leader)

    @property
    def lease(self) -> Lease | None:
        return self.state.lease

    def may_publish(self) -> bool:
        """Whether this replica leads, and has confirmed it recently enough."""
        return may_publish(self.state, self.clock())

    def lease_age_s(self) -> float | None:
        """Seconds since the leader renewed its lease; None if this replica knows no lease."""
        if self.lease is None or self.lease_read_at is None:
            return None
        return self.lease.age_s + self.clock() - self.lease_read_at

    def leader_url(self) -> str:
        """The leader's URL; empty if this replica leads, or the URL is not known."""
        return self.lease.url if self.lease is not None and not self.leads else ""
