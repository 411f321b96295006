"""Preference orders of many clients: candidates by score, up to the first that keeps all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Ints

PreferenceOrder = tuple[tuple[int, ...], ...]
"""Groups of site indexes; the sites of one group have equal scores."""

_TAKEN = np.iinfo(np.int64).max
_BEFORE_ALL = np.iinfo(np.int64).min
"""Lower than any score. Biases can make scores negative, so -1 would not be low enough."""


def preference_orders(
    keys: Ints, full: npt.NDArray[np.bool_]
) -> tuple[list[PreferenceOrder], Ints]:
    """The distinct preference orders of many clients, and the index of each client's order.

    `keys` are scores, sites × clients; lower scores come first. `full` marks the sites that keep
    all clients: an order ends with the group of the first such site. Keys times sites must be less
    than 2^62.
    """
    sites, clients = keys.shape
    bits = sites.bit_length()
    composite = keys << bits  # score and site in one number, so one minimum finds both
    composite |= np.arange(sites)[:, None]
    columns = np.arange(clients)
    which = np.zeros(clients, dtype=np.int64)
    paths: list[tuple[int, ...]] = [()]
    previous = np.full(clients, _BEFORE_ALL, dtype=np.int64)
    ended = np.zeros(clients, dtype=bool)
    while True:
        lowest = composite.min(axis=0)
        site, key = lowest & (1 << bits) - 1, lowest >> bits
        tied = key == previous
        active = (lowest != _TAKEN) & (tied | ~ended)
        if not active.any():
            break
        if not active.all():
            composite = composite[:, active]
            columns, site, key, tied, ended = (
                values[active] for values in (columns, site, key, tied, ended)
            )
        steps = (which[columns] * sites + site) * 2 + tied
        distinct, indexes = numbered(steps, len(paths) * sites * 2)
        which[columns] = len(paths) + indexes
        paths += [(*paths[step // (2 * sites)], step % (2 * sites)) for step in distinct.tolist()]
        composite[site, np.arange(len(columns))] = _TAKEN
        ended |= full[site]
        previous = key
    used = sorted(np.unique(which).tolist(), key=paths.__getitem__)
    rank = np.zeros(len(paths), dtype=np.int64)
    rank[used] = np.arange(len(used))
    return [_decode(paths[each]) for each in used], rank[which]


def numbered(values: Ints, limit: int) -> tuple[Ints, Ints]:
    """The distinct values, ascending, and the index of each value among them.

    All values are in [0, `limit`). Marking is several times as fast as sorting millions of values,
    but needs memory in proportion to `limit`.
    """
    if limit > 4 * len(values):
        distinct, indexes = np.unique(values, return_inverse=True)
        return distinct, indexes.reshape(-1)
    present = np.zeros(limit, dtype=bool)
    present[values] = True
    return np.flatnonzero(present), (np.cumsum(present) - 1)[values]


def _decode(steps: Sequence[int]) -> PreferenceOrder:
    groups: list[list[int]] = []
    for step in steps:
        if step & 1:
            groups[-1].append(step >> 1)
        else:
            groups.append([step >> 1])
    return tuple(tuple(sorted(group)) for group in groups)
