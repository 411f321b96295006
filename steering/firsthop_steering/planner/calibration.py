"""How many sessions stand behind what was counted, by what relays carry.

Caches hide clients: a resolver asks once a TTL, however many are behind it, and a surge asks no
more often. What relays carry hides nobody, but does not say where they are. Both together do. Each
group has a *home*, the region that it would go to if nothing were charged, and the prices say
which regions the clients of a home go to instead. So a number of sessions for each client of a
home is looked for that explains what all regions carry, by the multiplicative rule of Richardson
(1972) and Lucy (1974): expectation maximisation for counts (Shepp and Vardi 1982). Numbers stay
positive, where nothing is reported nothing changes, and whoever asks much without any session
counts for less.

Prices take a TTL to reach clients, and load as long to show it: what is expected follows with
the same lag, or every correction would be made twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from firsthop_steering.rtt.samples import Floats

HALF_S = 20.0
"""In which half of a difference is corrected: within two minutes a surge is known that no count
shows, and sessions of 20 minutes that stay where they are do not make it swing."""
NOISE = 10.0
"""Sessions that are added to both sides of a comparison: small numbers differ by chance."""
MOST_RATIO = 4.0
"""No report is believed to be further off in one step."""
MOST_EACH = 10_000.0
"""Sessions for a client."""


class Calibration:
    """From round to round, of regions by name."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._each = np.empty(0)
        """Sessions for a client of each home; NaN where none was seen."""
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
    ) -> Floats:
        """Sessions for a client of each home, after one more report.

        `flows` (homes × regions) are the clients that prices in force lead from a home to a
        region; `sessions` are reported, NaN where they are not. There is something in both.
        """
        clients = flows.sum(axis=1)
        peopled = clients > 0
        now = flows / np.where(peopled, clients, 1.0)[:, None]
        if tuple(names) != self._names:
            self._names = tuple(names)
            self._each, self._shares = np.full(len(clients), np.nan), now
        fresh = peopled & np.isnan(self._each)
        self._shares[fresh] = now[fresh]
        follows = 1 - np.exp(-elapsed_s / max(lag_s, 1e-9))
        self._shares[peopled] += follows * (now - self._shares)[peopled]
        heard = np.isfinite(sessions)
        if fresh.any():
            expected = clients @ self._shares
            overall = float(sessions[heard].sum()) / max(float(expected[heard].sum()), 1e-9)
            self._each[fresh] = min(overall, MOST_EACH)
        each = np.where(peopled, self._each, 0.0)
        expected = (each * clients) @ self._shares
        reported = np.where(heard, sessions, expected)
        ratio = np.clip((reported + NOISE) / (expected + NOISE), 1 / MOST_RATIO, MOST_RATIO)
        pull = (self._shares @ ratio)[peopled] ** (1 - 2 ** (-elapsed_s / HALF_S))
        self._each[peopled] = np.clip(self._each[peopled] * pull, 1 / MOST_EACH, MOST_EACH)
        return np.where(peopled, self._each, 0.0)
