"""The quorum on one relay address: a majority within each vantage, then between the vantages.

Only fresh views count, and only vantages whose own network is not broken. History and damping are
not considered here. Times are seconds of one clock, given as arguments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from firsthop_steering.plan.model import Liveness

EXCLUDED_FROM_SHARE = 0.6
"""A vantage that sees this share of its addresses down may itself be broken."""
EXCLUDED_FROM_TARGETS = 5
"""Minimum number of addresses for that share to be significant."""
ALTERNATION_HALF_LIFE_S = 15.0
CAUSES_SHOWN = 3
CAUSE_LENGTH = 80
LONGEST_STEP_S = 3600.0
Number = TypeVar("Number", int, float)
Key = TypeVar("Key")


def elapsed_s(before: float, now: float) -> float:
    """Seconds from `before` to `now`, limited to 0 and an hour in case a clock is set."""
    return min(max(now - before, 0.0), LONGEST_STEP_S)


def decayed(value: float, half_life_s: float, seconds: float) -> float:
    """`value` after exponential decay for `seconds`."""
    return value * 0.5 ** (seconds / half_life_s) if value else 0.0


class AddressView(NamedTuple):
    """One relay address as one prober, or one vantage, sees it, with its recent checks."""

    verdict: Liveness
    checked_at: float
    """Time of the last check, by our clock."""
    cause: str = ""
    """Why the last check failed; empty if it passed."""
    failures: int = 0
    """Consecutive failed checks that were reported."""
    unbroken: bool = False
    """Down, and no passed check was reported since."""
    alternations: float = 0.0
    """Changes between passed and failed checks, decaying with ALTERNATION_HALF_LIFE_S."""


def updated_view(
    before: AddressView | None, verdict: Liveness, *, checked_at: float, cause: str, is_new: bool
) -> AddressView:
    """The view after a report; `is_new` means that the report covers a new check."""
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
    views: Mapping[Key, AddressView],
    vantage_of: Mapping[Key, str],
    *,
    before: Mapping[str, AddressView],
    now: float,
    stale_after_s: float,
) -> dict[str, AddressView]:
    """The view of each vantage on one relay address, from the `views` of its probers (by prober).

    A view counts while its last check lies within `stale_after_s` of `now`, on either side. Within
    a vantage the majority of the fresh views that are not unknown decides; a tie keeps the
    vantage's verdict `before`.
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
    """The lower median, which a single wrong value cannot move beyond the others."""
    ranked = sorted(values)
    return ranked[(len(ranked) - 1) // 2]


def self_excluded(views: Iterable[Mapping[str, AddressView]]) -> frozenset[str]:
    """The vantages whose own network is broken; `views` has one mapping (by vantage) per address.

    Such a vantage sees at least EXCLUDED_FROM_SHARE of its addresses down, and for most of those
    more of the other vantages see the address up than down.
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
    if not suspects:  # the usual case: a dead relay is down at all vantages
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
    """The combined verdict of the vantages that count, and its explanation."""

    verdict: Liveness
    summary: str
    causes: str
    """The causes reported by up to CAUSES_SHOWN vantages that see it down; may be empty."""
    counted: tuple[AddressView, ...]
    """The views of the vantages that count; empty if the verdict is frozen."""


def count(views: Mapping[str, AddressView], excluded: frozenset[str], previous: Liveness) -> Count:
    """The verdict on one relay address from the fresh views on it, by vantage.

    More than half of the vantages that count, including undecided ones, must agree; otherwise, and
    if no vantage counts, `previous` is kept.
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
    if up < total:  # nearly all relays are up everywhere
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
