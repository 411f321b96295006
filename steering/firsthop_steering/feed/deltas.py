"""What changed from one status to the next, and how the next is made of that again."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from firsthop_steering.feed.snapshot import Delta, RelayStatus, Status

_Statuses = Mapping[str, RelayStatus]


def delta_between(old: Status, new: Status) -> Delta:
    """What a holder of `old` has to be told to hold `new`, of the same lineage."""
    return Delta(
        number=new.number,
        base=old.number,
        lineage=new.lineage,
        created_at=new.created_at,
        relays=_changed(old.relays, new.relays),
        gone=_gone(old.relays, new.relays),
        transceivers=_changed(old.transceivers, new.transceivers),
        gone_transceivers=_gone(old.transceivers, new.transceivers),
    )


def follows(delta: Delta, status: Status | None) -> bool:
    """Whether `delta` starts from just this status; if not, something was missed."""
    return status is not None and delta.lineage == status.lineage and delta.base == status.number


def applied(delta: Delta, status: Status) -> Status:
    """The status after `delta`, which `follows` it."""
    return Status(
        number=delta.number,
        lineage=delta.lineage,
        created_at=delta.created_at,
        relays=_after(status.relays, delta.relays, delta.gone),
        transceivers=_after(status.transceivers, delta.transceivers, delta.gone_transceivers),
    )


def _changed(old: _Statuses, new: _Statuses) -> dict[str, RelayStatus]:
    return {name: each for name, each in new.items() if old.get(name) != each}


def _gone(old: _Statuses, new: _Statuses) -> tuple[str, ...]:
    return tuple(sorted(old.keys() - new.keys()))


def _after(old: _Statuses, changed: _Statuses, gone: Collection[str]) -> dict[str, RelayStatus]:
    """In the order of a sealed status: an edge names its tables by what it reads."""
    kept = {name: each for name, each in old.items() if name not in gone}
    return dict(sorted({**kept, **changed}.items()))
