"""Which changes of a status are sent to edges at once (verdicts), and which soon (load)."""

from __future__ import annotations

from collections.abc import Mapping

from firsthop_steering.feed.snapshot import RelayStatus


def urgent(old: Mapping[str, RelayStatus], new: Mapping[str, RelayStatus], *, local: bool) -> bool:
    """Whether edges must get the new status at once: a verdict, share or agent's notice changed.

    Views of single vantages are urgent if some edge decides by them (`local`).
    """
    return {name: steers(each, local=local) for name, each in old.items()} != {
        name: steers(each, local=local) for name, each in new.items()
    }


def steers(status: RelayStatus, *, local: bool) -> tuple[object, ...]:
    """The part of a relay's status that answers depend on."""
    return (
        status.verdict,
        status.families,
        status.share,
        status.draining,
        status.stops_at,
        status.crashed,
        status.vantages if local else None,
    )


_NO_NEWS = frozenset({"reason", "reported_at"})


def news(old: Mapping[str, RelayStatus], new: Mapping[str, RelayStatus]) -> bool:
    """Whether more differs than the text of a reason and the time of a report."""
    return {name: _compared(each) for name, each in old.items()} != {
        name: _compared(each) for name, each in new.items()
    }


def _compared(status: RelayStatus) -> dict[str, object]:
    return {name: value for name, value in vars(status).items() if name not in _NO_NEWS}
