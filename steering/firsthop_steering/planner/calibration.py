"""How many sessions stand behind what was counted, by what relays carry.

Caches hide clients: a resolver asks once a TTL, however many are behind it, and a surge asks no
more often. What relays carry hides nobody, but does not say where they are. Both together do. Each
group has a *home*, the region that it would go to if nothing were charged, and the prices say
which regions the clients of a home go to instead. So a number of sessions for each client of a
home is looked for that explains what all regions carry, by the multiplicative rule of Richardson
(1972) and Lucy (1974): expectation maximisation for counts (Shepp and Vardi 1982). Numbers stay
positive, where nothing is reported nothing changes, and a home that asks much without any session
counts for less. What a region carries beyond all that, unseen clients bring.

Prices take a TTL to reach clients, and load as long to show it: what is expected follows with
the same lag, or every correction would be made twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firsthop_steering.rtt.samples import Floats

HALF_S = 20.0
"""In which half of a difference is corrected: within two minutes a surge is known that no count
shows, and sessions of 20 minutes that stay where they are do not make it swing."""
NOISE = 10.0
"""Sessions that are added to both sides of a comparison: small numbers differ by chance."""
MOST_RATIO, LEAST_RATIO = 10.0, 0.25
"""No report is believed to be further off in one step."""
UNSEEN = 0.02
"""Of what a region carries, to begin with: clients of whom no answer tells. Who sees only a part of
the world finds that there is more of them."""
FAINTEST = 0.01
"""Of what a client stands for on average: a home without sessions stands for no less, or it would
take minutes to notice some."""
MOST_EACH = 10_000.0
"""Sessions for a client."""
FIRST_STEPS = 50
"""At the first report, when there is nothing to go by."""


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
        self._shares = np.empty((0, 0))
        """Homes × regions: where the clients of a home are."""

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

        `flows` (homes × regions) are the clients that prices in force lead from a home to a
        region; `sessions` are reported, NaN where they are not. There is something in both.
        """
        clients = flows.sum(axis=1)
        peopled = clients > 0
        heard = np.isfinite(sessions)
        now = flows / np.where(peopled, clients, 1.0)[:, None]
        is_first = tuple(names) != self._names
        if is_first:
            self._names = tuple(names)
            self._each, self._shares = np.full(len(clients), np.nan), now
            self._unseen = np.where(heard, sessions, 0.0) * UNSEEN
        fresh = peopled & np.isnan(self._each)
        self._shares[fresh] = now[fresh]
        follows = 1 - np.exp(-elapsed_s / max(lag_s, 1e-9))
        self._shares[peopled] += follows * (now - self._shares)[peopled]
        expected = clients @ self._shares
        overall = float(sessions[heard].sum()) / max(float(expected[heard].sum()), 1e-9)
        self._each[fresh] = min(overall, MOST_EACH)
        gain = 1 - 2 ** (-elapsed_s / HALF_S)
        for _ in range(FIRST_STEPS if is_first else 1):
            self._step(clients, peopled, sessions, 1.0 if is_first else gain, overall * FAINTEST)
        return Calibrated(np.where(peopled, self._each, 0.0), self._unseen.copy())

    def _step(
        self,
        clients: Floats,
        peopled: npt.NDArray[np.bool_],
        sessions: Floats,
        gain: float,
        least: float,
    ) -> None:
        each = np.where(peopled, self._each, 0.0)
        expected = (each * clients) @ self._shares + self._unseen
        reported = np.where(np.isfinite(sessions), sessions, expected)
        ratio = np.clip((reported + NOISE) / (expected + NOISE), LEAST_RATIO, MOST_RATIO)
        pull = (self._shares @ ratio)[peopled] ** gain
        self._each[peopled] = np.clip(self._each[peopled] * pull, least, MOST_EACH)
        # Never nothing, or it could not grow again.
        grown = np.maximum(self._unseen, UNSEEN * NOISE) * ratio**gain
        self._unseen = np.where(np.isfinite(sessions), np.minimum(grown, reported), 0.0)
