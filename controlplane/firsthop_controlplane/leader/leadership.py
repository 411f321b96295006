"""The state machine of leadership, as a table. No clock, no database.

Of several control planes with one database, one leads: only it makes verdicts and numbers statuses.
A leader holds a session lock and renews a lease, a row of the store. The *term* rises with every
leader, so nothing that a former leader publishes supersedes the present leader's snapshots.

| state | finding | next state | next step |
|---|---|---|---|
| standby | the database is unreachable | standby | look again |
| standby | the lock was free: we have the new term | leader | |
| standby | taken, the lease is fresh | standby | follow the holder |
| standby | taken, the lease is stale | standby | end the holder's session, look again |
| leader | renewed | leader | |
| leader | the database is unreachable | leader | look again |
| leader | the lease is ours, but a session that we lost has the lock | leader | end that session |
| leader | another replica has the lease | standby | follow the holder |
| either | a peer leads in a higher term | standby | follow it |

`may_publish` is the second rule: a leader that was suspended must look again before it publishes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

RENEW_S = 0.5
"""Seconds between two renewals of the leader's lease."""
LOOK_S = 0.25
"""Seconds between two looks of a standby."""
STALE_S = 2.0
"""A lease of this age, by the database's clock, may be taken from its holder."""
UNSURE_S = 1.5
"""A leader whose last look is this old must look before it publishes; less than `STALE_S`."""
FIRST_NUMBER = 1_000_000_000
"""Numbers per term: enough for eleven days with one status per millisecond."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The row of the store that identifies the present leader."""

    term: int
    holder: str
    """A random name of the leader's process."""
    url: str = ""
    """The URL at which other replicas reach it; empty: not known yet."""
    age_s: float = 0.0
    """Seconds since it was renewed, by the database's clock."""


@dataclass(frozen=True, slots=True)
class HeldLease:
    """This replica has the lock and the lease."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Taken:
    """Another session has the lock; the lease identifies its holder."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Away:
    """The database could not be reached."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Outranked:
    """A peer claims the leadership in the term of this lease."""

    lease: Lease


Finding = HeldLease | Taken | Away | Outranked


@dataclass(frozen=True, slots=True)
class Standby:
    """Makes no verdicts; `lease` is the last one that it read."""

    lease: Lease | None = None


@dataclass(frozen=True, slots=True)
class Leader:
    """Makes verdicts and numbers statuses. `asked_at` is when its last look began, by a monotonic
    clock."""

    lease: Lease
    asked_at: float
    renewed_at: float
    """When the last look that renewed the lease began."""

    @property
    def term(self) -> int:
        return self.lease.term


LeadershipState = Standby | Leader
Step = Literal["wait", "end holder"]


def after(
    state: LeadershipState, finding: Finding, asked_at: float
) -> tuple[LeadershipState, Step]:
    """The next state and step, given the finding of a look that began at `asked_at`."""
    if isinstance(finding, HeldLease):
        return Leader(finding.lease, asked_at, asked_at), "wait"
    if isinstance(finding, Outranked):
        known = state.lease.term if state.lease else 0
        return (Standby(finding.lease) if finding.lease.term > known else state), "wait"
    if isinstance(finding, Away):
        return (replace(state, asked_at=asked_at) if isinstance(state, Leader) else state), "wait"
    lease = finding.lease
    if isinstance(state, Leader) and (lease.term, lease.holder) == _name(state.lease):
        return replace(state, asked_at=asked_at), "end holder"
    return Standby(lease), "end holder" if lease.age_s > STALE_S else "wait"


def _name(lease: Lease) -> tuple[int, str]:
    return lease.term, lease.holder


def may_publish(state: LeadershipState, now: float) -> bool:
    """Whether a replica in this state may publish at `now`.

    A process may be suspended at any time, so the time when its last look *began* is decisive.
    """
    return isinstance(state, Leader) and now - state.asked_at < UNSURE_S


def first_number(term: int) -> int:
    """The number before the first snapshot of a term."""
    return term * FIRST_NUMBER
