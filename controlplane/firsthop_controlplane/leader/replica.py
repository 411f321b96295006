"""What this replica knows of the leadership: whether it leads, in which term, or who does.

`Election` writes it; everything that depends on the leadership reads it.
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
    """The present state of one replica; a standby until an election says otherwise."""

    def __init__(self, *, url: str, clock: Callable[[], float]) -> None:
        """`url` is where other replicas reach this one; `clock` is monotonic, in seconds."""
        self.url = url
        self.clock = clock
        self.state: LeadershipState = Standby()
        self.predecessor: Lease | None = None
        """The lease of the previous leader this one, while it may not know that it was replaced."""
        self.hand_overs = 0
        """How often this replica began to lead."""
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
        """Seconds since the leader renewed, as far as this replica knows."""
        if self.lease is None or self.lease_read_at is None:
            return None
        return self.lease.age_s + self.clock() - self.lease_read_at

    def leader_url(self) -> str:
        """Where the leader is; empty if that is this replica, or not known."""
        return self.lease.url if self.lease is not None and not self.leads else ""
