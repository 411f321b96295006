"""What changed from one status to the next, and how the next is made of that again."""

from __future__ import annotations

from firsthop_steering.snapshot import Delta, Status


def delta_between(old: Status, new: Status) -> Delta:
    """What a holder of `old` has to be told to hold `new`, of the same lineage."""
    changed = {name: each for name, each in new.relays.items() if old.relays.get(name) != each}
    return Delta(
        number=new.number,
        base=old.number,
        lineage=new.lineage,
        created_at=new.created_at,
        relays=changed,
        gone=tuple(sorted(old.relays.keys() - new.relays.keys())),
    )


def follows(delta: Delta, status: Status | None) -> bool:
    """Whether `delta` starts from just this status; if not, something was missed."""
    return status is not None and delta.lineage == status.lineage and delta.base == status.number


def applied(delta: Delta, status: Status) -> Status:
    """The status after `delta`, which `follows` it."""
    relays = {name: each for name, each in status.relays.items() if name not in delta.gone}
    relays |= delta.relays
    return Status(
        number=delta.number,
        lineage=delta.lineage,
        created_at=delta.created_at,
        # In the order of a sealed status: an edge names its tables by what it reads.
        relays=dict(sorted(relays.items())),
    )
