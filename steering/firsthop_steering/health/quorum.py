"""What all vantages together say of a relay: by majority in each vantage, then between vantages.

Knows which word counts (fresh, and from a vantage that has not excluded itself), not what was said
before that nor whether a relay flaps. Times are seconds on one clock, handed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from firsthop_steering.plan.model import Liveness

EXCLUDED_FROM_SHARE = 0.6
"""A vantage that sees this share of all its targets down may be what is broken."""
EXCLUDED_FROM_TARGETS = 5
"""With fewer targets than these, a share says nothing."""
ALTERNATION_HALF_LIFE_S = 15.0
CAUSES_SHOWN = 3
CAUSE_LENGTH = 80
LONGEST_STEP_S = 3600.0
Number = TypeVar("Number", int, float)


def elapsed_s(before: float, now: float) -> float:
    """Seconds from `before` to `now`, between 0 and an hour: clocks are set back and forth."""
    return min(max(now - before, 0.0), LONGEST_STEP_S)


def decayed(value: float, half_life_s: float, seconds: float) -> float:
    """What is left of `value` after `seconds`."""
    return value * 0.5 ** (seconds / half_life_s) if value else 0.0


class AddressView(NamedTuple):
    """A relay as one prober, or one vantage, sees it now, and how its checks went of late."""

    verdict: Liveness
    checked_at: float
    """Of the last check, by our clock."""
    cause: str = ""
    """Why the last check failed; empty when it passed."""
    failures: int = 0
    """Checks in a row that were seen to fail."""
    unbroken: bool = False
    """Down, and no check was seen to pass since it turned down."""
    alternations: float = 0.0
    """Turns between passed and failed checks, each worth half after ALTERNATION_HALF_LIFE_S."""


def updated_view(
    before: AddressView | None, verdict: Liveness, *, checked_at: float, cause: str, is_new: bool
) -> AddressView:
    """The sighting after a report; `is_new`: it tells of another check than `before`."""
    failed = bool(cause)
    if before is None:
        return AddressView(verdict, checked_at, cause, int(failed), failed and verdict == "down")
    if not is_new:
        return before._replace(verdict=verdict, checked_at=checked_at)
    level = decayed(
        before.alternations, ALTERNATION_HALF_LIFE_S, elapsed_s(before.checked_at, checked_at)
    )
    if failed != bool(before.cause):
        level += 1.0
    return AddressView(
        verdict,
        checked_at,
        cause,
        before.failures + 1 if failed else 0,
        failed and verdict == "down" and (before.unbroken or before.verdict != "down"),
        level,
    )


def views_of_vantages(
    views: Mapping[str, AddressView],
    vantage_of: Mapping[str, str],
    *,
    before: Mapping[str, AddressView],
    now: float,
    stale_after_s: float,
) -> dict[str, AddressView]:
    """What each vantage says of one relay, from the `views` of its probers (prober to sighting).

    A view counts while its last check lies within `stale_after_s` of `now`, on either side. In a
    vantage the majority of the fresh views that are not `unknown` decides; a tie keeps what the
    vantage said `before`.
    """
    by_vantage: dict[str, AddressView] = {}
    shared: dict[str, list[AddressView]] = {}
    for prober, view in views.items():
        if -stale_after_s <= now - view.checked_at <= stale_after_s:
            vantage = vantage_of[prober]
            if vantage in by_vantage:
                shared.setdefault(vantage, [by_vantage[vantage]]).append(view)
            else:
                by_vantage[vantage] = view
    for vantage, several in shared.items():
        last = before.get(vantage)
        by_vantage[vantage] = _majority_view(several, last.verdict if last else "unknown")
    return by_vantage


def _majority_view(views: Sequence[AddressView], previous: Liveness) -> AddressView:
    summary = Counter(view.verdict for view in views)
    verdict = previous
    if summary["up"] != summary["down"]:
        verdict = "up" if summary["up"] > summary["down"] else "down"
    causes = sorted(view.cause for view in views if view.verdict == verdict and view.cause)
    return AddressView(
        verdict,
        max(view.checked_at for view in views),
        causes[0] if causes else "",
        lower_median(view.failures for view in views),
        2 * sum(view.unbroken for view in views) > len(views),
        lower_median(view.alternations for view in views),
    )


def lower_median(values: Iterable[Number]) -> Number:
    """The middle value, of two middle ones the lower: one liar cannot push it past the others."""
    ranked = sorted(values)
    return ranked[(len(ranked) - 1) // 2]


def self_excluded(views: Iterable[Mapping[str, AddressView]]) -> frozenset[str]:
    """The vantages whose own network is broken; `views` has one mapping for each relay.

    Such a one sees most of all its targets down, while of more than half of those the others
    together say that they are up. Where the others agree, or are split, it is believed.
    """
    every = list(views)
    down: Counter[str] = Counter()
    contradicted: Counter[str] = Counter()
    for summary in every:
        verdicts = [view.verdict for view in summary.values()]
        if "down" in verdicts:
            downs = [vantage for vantage, view in summary.items() if view.verdict == "down"]
            down.update(downs)
            if verdicts.count("up") > len(downs) - 1:
                contradicted.update(downs)
    suspects = {vantage for vantage, count in down.items() if 2 * contradicted[vantage] > count}
    if not suspects:  # as nearly always: what is dead is dead for all
        return frozenset()
    known = Counter(
        vantage
        for summary in every
        for vantage in suspects & summary.keys()
        if summary[vantage].verdict != "unknown"
    )
    return frozenset(
        vantage
        for vantage in suspects
        if known[vantage] >= EXCLUDED_FROM_TARGETS
        and down[vantage] >= EXCLUDED_FROM_SHARE * known[vantage]
    )


class Count(NamedTuple):
    """What the vantages that count say together, and the sentence that explains it."""

    verdict: Liveness
    summary: str
    causes: str
    """Up to CAUSES_SHOWN of those who say down, each with its vantage; may be empty."""
    counted: tuple[AddressView, ...]
    """The words of the vantages that count; none: the verdict is frozen."""


def count(views: Mapping[str, AddressView], excluded: frozenset[str], previous: Liveness) -> Count:
    """One relay's verdict from the words of its fresh vantages.

    More than half of those that count, the undecided ones included, have to agree; otherwise
    `previous` stays, and so it does when nobody is left.
    """
    out = sorted(excluded & views.keys()) if excluded else []
    counted = {name: view for name, view in views.items() if name not in out} if out else views
    aside = f"; excluded: {', '.join(out[:CAUSES_SHOWN])}" if out else ""
    total = len(counted)
    if not total:
        return Count(previous, f"no vantage counts; frozen as {previous}{aside}", "", ())
    summary = [view.verdict for view in counted.values()]
    up = summary.count("up")
    down: list[str] = []
    if up < total:  # of thousands nearly all are up everywhere
        down = [name for name, view in counted.items() if view.verdict == "down"]
    verdict: Liveness = previous
    if 2 * up > total:
        verdict, votes = "up", f"up at {up} of {total} vantages"
    elif 2 * len(down) > total:
        verdict, votes = "down", f"down at {len(down)} of {total} vantages"
    else:
        votes = f"up at {up}, down at {len(down)} of {total} vantages; stays {previous}"
    causes = _causes(counted, down) if down else ""
    return Count(verdict, votes + aside, causes, tuple(counted.values()))


def _causes(views: Mapping[str, AddressView], down: Iterable[str]) -> str:
    return ", ".join(
        f"{name}: {views[name].cause[:CAUSE_LENGTH] or 'last check passed'}"
        for name in sorted(down)[:CAUSES_SHOWN]
    )
