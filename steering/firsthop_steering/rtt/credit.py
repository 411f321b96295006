"""Credit of tokens: one whose reports others contradict loses its votes, region by region.

Reports are judged where at least three sources agree. A token may be right about one region and lie
about another, so the credit is that of a token in a region. A token of which nothing was compared
keeps its votes, but is *new*: where it is alone it does not count yet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from firsthop_steering.arrays import Floats, Mask
from firsthop_steering.rtt.agreement import Entries, Reports
from firsthop_steering.rtt.sources import tokens_of

QUORUM = 3.0
"""Agreeing sources among which a report is judged."""
ENOUGH = 10.0
"""Judged reports of a token about a region after which it is no longer new."""
SOUND, UNSOUND = 0.3, 0.5
"""Shares of contradicted reports up to which a token has all its votes, and from which it has none.
Nine honest reports of ten are near the others, and the tenth has waited in a queue."""


@dataclass(frozen=True, slots=True)
class Credit:
    """For each report, its token's credit in its region, and whether the token is new there."""

    credit: Floats
    is_new: Mask


def credit_of(reports: Reports, entries: Entries, within: Mask) -> Credit:
    """The credit of every report's token, given the agreement of all entries."""
    tokens, token = np.unique(tokens_of(reports.rows.sources), return_inverse=True)
    regions, region = np.unique(reports.rows.regions, return_inverse=True)
    slot, count = token * len(regions) + region, len(tokens) * len(regions)
    is_judge = (entries.votes >= QUORUM - 0.25) & (entries.doubt_ms <= 0)
    judged = np.bincount(slot, is_judge[reports.entry], count)
    wrong = np.bincount(slot, is_judge[reports.entry] & ~within, count)
    share = (wrong + 1) / (judged + ENOUGH)
    credit = np.clip((UNSOUND - share) / (UNSOUND - SOUND), 0.0, 1.0)
    return Credit(credit[slot], judged[slot] < ENOUGH)
