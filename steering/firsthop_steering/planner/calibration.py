"""Estimates how many sessions each counted client stands for, from the load that relays report.

DNS caches hide clients: a resolver asks once per TTL however many clients are behind it, and a
surge does not make it ask more often. Reported load counts all sessions, but does not tell where
they come from. Both are combined. Each group of clients has a *home*, the region that it would use
without prices; the prices determine to which regions the clients of a home go instead. For each
home a number of sessions per client is fitted so that the load of all regions is explained, by the
multiplicative rule of Richardson (1972) and Lucy (1974): expectation maximisation for counts (Shepp
and Vardi 1982). Estimates stay positive, regions without reports change nothing, and a home with
many requests but few sessions counts for less. The load that remains unexplained is attributed to
unseen clients: clients that other systems steer, and clients in excess of their home's mean, as the
caches that use one region may hide more clients than others.

Prices take a TTL to reach clients. It is therefore assumed that an equal part of the clients
follows the prices of each moment of the last TTL. Otherwise every correction would be made twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from firsthop_steering.arrays import Floats

HALF_S = 5.0
"""Half-life of a difference between expected and reported load: a surge that no count shows is
known after three reports. Corrections of mere noise move no clients, because prices that still
suffice are kept."""
UNSEEN_HALF_S, FORGOTTEN_HALF_S = 20.0, 600.0
"""Half-lives: of unexplained load until it counts as unseen clients, and of unseen clients until
they count as clients of the homes that can explain them."""
NOISE = 10.0
"""Sessions added to both sides of a comparison, since small numbers differ by chance."""
MAX_RATIO, MIN_RATIO = 10.0, 0.5
"""Bounds of the correction that one report makes."""
UNSEEN = 0.02
"""Initial share of a region's load that is attributed to unseen clients. An edge that sees only a
part of the answers learns a larger share."""
FAINTEST = 0.01
"""Lower bound of a client's sessions, relative to the average: from 0 a home would take minutes to
recover."""
MAX_EACH = 10_000.0
"""Upper bound of the sessions of one client."""
FIRST_STEPS = 50
"""Iterations at the first report, when there is no previous estimate."""
_MOMENT_S = 1e-3


@dataclass(frozen=True, slots=True)
class Calibrated:
    """In sessions: `each`, per client of each home, and `unseen`, the load of each region that no
    counted client explains."""

    each: Floats
    unseen: Floats


class Calibration:
    """The estimates, updated once per round; regions are matched by name."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._each = np.empty(0)
        """NaN for homes that had no clients yet."""
        self._unseen = np.empty(0)
        self._led = deque[tuple[Floats, float]]()
        """Past assignments, latest first: shares of each home's clients (homes × regions), and how
        many seconds the prices behind them were in force."""

    def learn(
        self,
        names: Sequence[str],
        flows: Floats,
        sessions: Floats,
        *,
        elapsed_s: float,
        lag_s: float,
    ) -> Calibrated:
        """Updates the estimates with one more report.

        `flows` (homes × regions) are the clients that go from a home to a region under the prices
        in force for the last `elapsed_s`, the time since the previous report. Answers are cached
        for `lag_s`. `sessions` are the reported sessions of each region, NaN for a region without
        reports. Neither `flows` nor `sessions` may be all zero.
        """
        clients = flows.sum(axis=1)
        populated, reporting = np.asarray(clients > 0), np.isfinite(sessions)
        now = flows / np.where(populated, clients, 1.0)[:, None]
        is_first = tuple(names) != self._names
        if is_first:
            self._names = tuple(names)
            self._each = np.full(len(clients), np.nan)
            self._led.clear()
            self._unseen = np.where(reporting, sessions, 0.0) * UNSEEN
        fresh = populated & np.isnan(self._each)
        shares = self._follow(now, elapsed_s, lag_s)
        expected = clients @ shares
        overall = float(sessions[reporting].sum()) / max(float(expected[reporting].sum()), 1e-9)
        self._each[fresh] = min(overall, MAX_EACH)
        step = 1.0 if is_first else _corrected(HALF_S, elapsed_s)
        for _ in range(FIRST_STEPS if is_first else 1):
            found = np.where(populated, self._each, 0.0) * clients @ shares + self._unseen
            reported = np.where(reporting, sessions, found)
            ratio = np.clip((reported + NOISE) / (found + NOISE), MIN_RATIO, MAX_RATIO)
            pulled = self._each * (shares @ ratio) ** step
            np.clip(pulled, overall * FAINTEST, MAX_EACH, out=self._each, where=populated)
        each = np.where(populated, self._each, 0.0)
        if not is_first:
            self._learn_unseen((each * clients)[:, None] * shares, shares, sessions, elapsed_s)
        return Calibrated(each, self._unseen.copy())

    def _learn_unseen(
        self, there: Floats, shares: Floats, sessions: Floats, elapsed_s: float
    ) -> None:
        """Updates `unseen` from the load that `there` (homes × regions, sessions) leaves
        unexplained."""
        led = there.sum(axis=0)
        # The share of the load that a change of its homes' estimates could explain: all of it if
        # all clients of those homes are in this region, little if only few of them are.
        theirs = (there * shares).sum(axis=0) / np.maximum(led, 1e-9)
        kept = self._unseen * 2 ** (-elapsed_s * theirs / FORGOTTEN_HALF_S)
        left = sessions - led - kept
        taken = _corrected(UNSEEN_HALF_S, elapsed_s) * np.where(left > 0, 1 - theirs, 1.0)
        unseen = np.clip(kept + taken * left, 0.0, sessions)
        self._unseen = np.where(np.isfinite(sessions), unseen, self._unseen)

    def _follow(self, now: Floats, elapsed_s: float, lag_s: float) -> Floats:
        """Shares of each home's clients by region (homes × regions), averaged over the last lag."""
        self._led.appendleft((now, max(elapsed_s, _MOMENT_S)))
        lag_s = max(lag_s, _MOMENT_S)
        shares, since_s = np.zeros(now.shape), 0.0
        for at, (led, lasted_s) in enumerate(self._led):
            part_s = min(lasted_s, lag_s - since_s)
            shares += np.where(led.any(axis=1, keepdims=True), led, now) * part_s
            since_s += part_s
            if since_s >= lag_s:
                while len(self._led) > at + 1:
                    self._led.pop()
                break
        return shares / since_s


def _corrected(half_s: float, elapsed_s: float) -> float:
    return 1 - 2 ** (-elapsed_s / half_s)
