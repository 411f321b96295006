"""Hosts that stand for the clients of their prefix: kept apart from clients, and put to them.

A representative is measured on a schedule, day and night. Were its samples clients' ones it would
outvote the few that a prefix has. So the ledger keeps it under a number of its own, with a mean and
a spread of its own, and only what is learned puts both together.
"""

from __future__ import annotations

import numpy as np

from firsthop_steering.arrays import Floats
from firsthop_steering.rtt.ledger import Entries
from firsthop_steering.rtt.samples import REGION_BITS

MOST_REPRESENTATIVE = 4.0
"""Clients' samples that all of a prefix's representatives weigh at most: from five clients in the
last day on these have the majority."""
_MARK = 1 << 49
"""No prefix has this bit (`samples.prefix_of`)."""


def represented(prefix: int) -> int:
    """The number that the representatives of a prefix are kept under."""
    return prefix | _MARK


def folded(entries: Entries) -> Entries:
    """One entry a prefix and region: the clients' and the representatives' mean, by counts."""
    mark = np.uint64(_MARK)
    availability = entries.prefixes >= mark
    if not availability.any():
        return entries
    prefixes = np.where(availability, entries.prefixes ^ mark, entries.prefixes)
    keys = prefixes << np.uint64(REGION_BITS) | entries.regions.astype(np.uint64)
    kept, which = np.unique(keys, return_inverse=True)
    count = np.where(availability, np.minimum(entries.count, MOST_REPRESENTATIVE), entries.count)
    total = np.bincount(which, weights=count).astype(np.float64)

    def mean(values: Floats) -> Floats:
        return np.bincount(which, weights=count * values) / total

    return Entries(
        kept >> np.uint64(REGION_BITS),
        (kept & np.uint64((1 << REGION_BITS) - 1)).astype(np.int64),
        total,
        mean(entries.mean_ms),
        np.sqrt(mean(entries.noise_ms**2)),
    )
