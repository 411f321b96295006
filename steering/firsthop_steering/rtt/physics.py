"""What the speed of light says about the measured paths of one prefix, without geo data.

Whoever is at a distance x from region a is at least d(a, b) − x from region b, so

    rtt(c, a) + rtt(c, b) ≥ 2·d(a, b) / (200 km/ms)

If two entries of a prefix break this, one of them is false. The sources vote: an entry falls if at
least as many sources are against it as for it.
"""

from __future__ import annotations

import numpy as np

from firsthop_steering.arrays import Floats, Ints, Mask
from firsthop_steering.rtt.agreement import Entries
from firsthop_steering.rtt.placing import SLACK_KM
from firsthop_steering.rtt.prior import LIGHT_MS_PER_KM


def between_regions_km(distances_km: Floats) -> Floats:
    """A lower bound of the distance between each two regions; `distances_km` are cells × regions.

    It is the difference of their distances to the cell next to one of them.
    """
    near = distances_km[distances_km.argmin(axis=0)]
    least = near - np.diag(near)[:, None]
    bound: Floats = np.maximum(np.maximum(least, least.T), 0.0)
    return bound


def contradicted(entries: Entries, which: Ints, distances_km: Floats, share: float = 1.0) -> Mask:
    """Mask of the entries that others of their prefix outvote; `which` is the index of the prefix.

    An entry falls if the votes against it are at least `share` of its own. Entries whose own votes
    are divided neither accuse nor fall.
    """
    least_ms = LIGHT_MS_PER_KM * (between_regions_km(distances_km) - SLACK_KM)
    single = np.flatnonzero(entries.doubt_ms <= 0)
    prefix, region = which[single], entries.regions[single]
    rtt, votes = entries.mean_ms[single], entries.votes[single]
    against = np.zeros(len(single))
    for step in range(1, int(np.bincount(prefix).max(initial=0))):
        first = np.flatnonzero(prefix[step:] == prefix[:-step])
        second = first + step
        false = rtt[first] + rtt[second] < least_ms[region[first], region[second]]
        first, second = first[false], second[false]
        against[first] += votes[second]
        against[second] += votes[first]
    fallen = np.zeros(len(entries), dtype=bool)
    fallen[single] = (against > 0) & (against >= share * votes)
    return fallen
