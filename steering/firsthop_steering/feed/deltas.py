"""Differences between two statuses: how a delta is computed, and how it is applied."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from firsthop_steering.feed.snapshot import Delta, RelayStatus, Status

_Statuses = Mapping[str, RelayStatus]


def delta_between(old: Status, new: Status) -> Delta:
    """The delta that turns `old` into `new`; both must have the same lineage."""
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
    """Whether `delta` starts from exactly this status; if not, the reader missed something."""
    return status is not None and delta.lineage == status.lineage and delta.base == status.number


def applied(delta: Delta, status: Status) -> Status:
    """Applies `delta`, which must follow `status` (see `follows`)."""
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
    """The new entries, sorted by id like those of a sealed status: an edge names its tables by the
    digest of its inputs."""
    kept = {name: each for name, each in old.items() if name not in gone}
    return dict(sorted({**kept, **changed}.items()))
