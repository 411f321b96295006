"""How many sessions stand behind what was counted, by what relays carry.

Caches hide clients: a resolver asks once a TTL, however many are behind it, and a surge asks no
more often. What relays carry hides nobody, but does not say where they are. Both together do. Each
group has a *home*, the region that it would go to if nothing were charged, and the prices say
which regions the clients of a home go to instead. So a number of sessions for each client of a
home is looked for that explains what all regions carry, by the multiplicative rule of Richardson
(1972) and Lucy (1974): expectation maximisation for counts (Shepp and Vardi 1982). Numbers stay
positive, where nothing is reported nothing changes, and a home that asks much without any session
counts for less. What a region carries beyond all that, unseen clients bring: those whom somebody
else leads, and those of a home whom its mean does not tell of, for the caches that go to one
region may have more behind them than the others.

Prices take a TTL to reach clients: those are, in equal parts, where prices led them in each moment
of the last TTL. Without that every correction would be made twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from firsthop_steering.arrays import Floats

HALF_S = 5.0
"""In which half of a difference is corrected: a surge that no count shows is known after three
reports. That some of a difference is chance moves nobody, for prices stay as long as they do."""
UNSEEN_HALF_S, FORGOTTEN_HALF_S = 20.0, 600.0
"""In which half of what no home can answer for is taken for unseen clients', and half of these for
the homes' that can answer for them."""
NOISE = 10.0
"""Sessions that are added to both sides of a comparison: small numbers differ by chance."""
MAX_RATIO, MIN_RATIO = 10.0, 0.5
"""No report is believed to be further off in one step."""
UNSEEN = 0.02
"""Of what a region carries, to begin with: clients of whom no answer tells. Who sees only a part of
the world finds that there is more of them."""
FAINTEST = 0.01
"""Of what a client stands for on average: a home without sessions stands for no less, or it would
take minutes to notice some."""
MAX_EACH = 10_000.0
"""Sessions for a client."""
FIRST_STEPS = 50
"""At the first report, when there is nothing to go by."""
_MOMENT_S = 1e-3


@dataclass(frozen=True, slots=True)
class Calibrated:
    """In sessions: what a client of each home stands for, and what each region carries of clients
    who are led by somebody else."""

    each: Floats
    unseen: Floats


class Calibration:
    """From round to round, of regions by name."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._each = np.empty(0)
        """NaN for homes where nobody was seen."""
        self._unseen = np.empty(0)
        self._led = deque[tuple[Floats, float]]()
        """Where prices led the clients of each home (homes × regions), and for how many seconds;
        the latest is first."""

    def learn(
        self,
        names: Sequence[str],
        flows: Floats,
        sessions: Floats,
        *,
        elapsed_s: float,
        lag_s: float,
    ) -> Calibrated:
        """After one more report.

        `flows` (homes × regions) are the clients that prices lead from a home to a region, those
        that were in force for `elapsed_s`, since the report before; answers are kept for `lag_s`.
        `sessions` are reported, NaN where they are not. There is something in both.
        """
        clients = flows.sum(axis=1)
        peopled, heard = np.asarray(clients > 0), np.isfinite(sessions)
        now = flows / np.where(peopled, clients, 1.0)[:, None]
        is_first = tuple(names) != self._names
        if is_first:
            self._names = tuple(names)
            self._each = np.full(len(clients), np.nan)
            self._led.clear()
            self._unseen = np.where(heard, sessions, 0.0) * UNSEEN
        fresh = peopled & np.isnan(self._each)
        shares = self._follow(now, elapsed_s, lag_s)
        expected = clients @ shares
        overall = float(sessions[heard].sum()) / max(float(expected[heard].sum()), 1e-9)
        self._each[fresh] = min(overall, MAX_EACH)
        step = 1.0 if is_first else _corrected(HALF_S, elapsed_s)
        for _ in range(FIRST_STEPS if is_first else 1):
            found = np.where(peopled, self._each, 0.0) * clients @ shares + self._unseen
            told = np.where(heard, sessions, found)
            ratio = np.clip((told + NOISE) / (found + NOISE), MIN_RATIO, MAX_RATIO)
            pulled = self._each * (shares @ ratio) ** step
            np.clip(pulled, overall * FAINTEST, MAX_EACH, out=self._each, where=peopled)
        each = np.where(peopled, self._each, 0.0)
        if not is_first:
            self._learn_unseen((each * clients)[:, None] * shares, shares, sessions, elapsed_s)
        return Calibrated(each, self._unseen.copy())

    def _learn_unseen(
        self, there: Floats, shares: Floats, sessions: Floats, elapsed_s: float
    ) -> None:
        """By what the sessions that homes have in each region leave unexplained."""
        led = there.sum(axis=0)
        # How much homes can answer for: all, where all of their clients are in one region; nothing,
        # where those that are there are few of theirs.
        theirs = (there * shares).sum(axis=0) / np.maximum(led, 1e-9)
        kept = self._unseen * 2 ** (-elapsed_s * theirs / FORGOTTEN_HALF_S)
        left = sessions - led - kept
        taken = _corrected(UNSEEN_HALF_S, elapsed_s) * np.where(left > 0, 1 - theirs, 1.0)
        unseen = np.clip(kept + taken * left, 0.0, sessions)
        self._unseen = np.where(np.isfinite(sessions), unseen, self._unseen)

    def _follow(self, now: Floats, elapsed_s: float, lag_s: float) -> Floats:
        """Homes × regions: which share of a home's clients is where, who ask again once a lag."""
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
