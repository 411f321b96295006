"""Who leads: what a replica does next, from what it last learned. A table; no clock, no database.

Of several control planes over one database one leads: it alone judges relays and numbers statuses.
A leader holds a session lock and renews a lease, a row of the store. Its *term* rises with every
leader, so nothing that a former one says can pass for news.

| is | learned at the database | becomes | does next |
|---|---|---|---|
| standby | nothing, it is away | standby | look again |
| standby | the lock was free: a new term is ours | leader | |
| standby | taken, the lease is fresh | standby | follow the holder |
| standby | taken, the lease is stale | standby | end the holder's session, look again |
| leader | renewed | leader | |
| leader | nothing, it is away | leader | look again |
| leader | the lease is ours, the lock is with a session that we lost | leader | end that session |
| leader | the lease is another's | standby | follow the holder |
| either | a peer leads in a higher term | standby | follow it |

The second rule is `may_publish`: a leader that was stopped or starved has to look again first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

RENEW_S = 0.5
"""How often a leader renews, and a little less than how often a standby looks."""
LOOK_S = 0.25
STALE_S = 2.0
"""A lease this old, by the database's clock, is taken from its holder."""
UNSURE_S = 1.5
"""A leader that has not asked for so long asks before it publishes: less than `STALE_S`."""
FIRST_NUMBER = 1_000_000_000
"""Statuses of a term: at one every millisecond more than eleven days of them."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What the store says of the present leader."""

    term: int
    holder: str
    """A name that each process makes for itself."""
    url: str = ""
    """Where other replicas reach it; empty: it has not said."""
    age_s: float = 0.0
    """Since it was renewed, by the database's clock."""


@dataclass(frozen=True, slots=True)
class HeldLease:
    """The lock and the lease are ours, in this term."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Taken:
    """The lock is with another session; the lease says whose."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Away:
    """The database could not be asked."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Outranked:
    """A peer says that it leads."""

    lease: Lease


Finding = HeldLease | Taken | Away | Outranked


@dataclass(frozen=True, slots=True)
class Standby:
    """Holds no verdicts of its own; `lease` is the last that it saw."""

    lease: Lease | None = None


@dataclass(frozen=True, slots=True)
class Leader:
    """Judges and numbers. `asked_at`: when it began to ask the database last, by a clock that
    never stops or goes back."""

    lease: Lease
    asked_at: float
    renewed_at: float
    """When the database last said so."""

    @property
    def term(self) -> int:
        return self.lease.term


LeadershipState = Standby | Leader
Step = Literal["wait", "end holder"]


def after(
    state: LeadershipState, finding: Finding, asked_at: float
) -> tuple[LeadershipState, Step]:
    """The next state and what to do, from what was found by asking at `asked_at`."""
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
    """Whether a status may go out under this leadership at `now`.

    A process that was stopped holds an old belief: what counts is when it *began* to ask.
    """
    return isinstance(state, Leader) and now - state.asked_at < UNSURE_S


def first_number(term: int) -> int:
    """The number before a term's first status."""
    return term * FIRST_NUMBER
