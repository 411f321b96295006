"""The walks of many clients at once: candidates in order, up to the one that keeps everybody."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Walk = tuple[tuple[int, ...], ...]
"""Sites by index, in groups of equal score."""

_TAKEN = np.iinfo(np.int64).max
_BEFORE_ALL = np.iinfo(np.int64).min
"""No score: biases make scores negative, so -1 would be one."""


def walks_of(keys: Ints, full: npt.NDArray[np.bool_]) -> tuple[list[Walk], Ints]:
    """The distinct walks of many clients, and which one each has.

    `keys` has one row a site and one column a client, lowest first; `full` says which sites keep
    everybody, after whose group no further one is ever asked.
    """
    keys = keys.copy()
    columns = np.arange(keys.shape[1])
    steps: list[Ints] = []
    previous = np.full(len(columns), _BEFORE_ALL, dtype=np.int64)
    ended = np.zeros(len(columns), dtype=bool)
    while len(columns):
        site = keys[:, columns].argmin(axis=0)
        key = keys[site, columns]
        tied = key == previous
        going = (key != _TAKEN) & (tied | ~ended)
        columns, site, key, tied, ended = (
            values[going] for values in (columns, site, key, tied, ended)
        )
        if not len(columns):
            break
        step = np.full(keys.shape[1], -1, dtype=np.int64)
        step[columns] = site * 2 + tied
        steps.append(step)
        keys[site, columns] = _TAKEN
        ended |= full[site]
        previous = key
    distinct, which = np.unique(np.stack(steps, axis=1), axis=0, return_inverse=True)
    return [_decode(row) for row in distinct.tolist()], which.reshape(-1)


def _decode(row: list[int]) -> Walk:
    groups: list[list[int]] = []
    for step in row:
        if step < 0:
            break
        if step & 1:
            groups[-1].append(step >> 1)
        else:
            groups.append([step >> 1])
    return tuple(tuple(sorted(group)) for group in groups)
