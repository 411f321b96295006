"""Who is checked when: each slowly and evenly, all together at a bounded rate. Pure."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

from firsthop_healthchecks.schedule import Schedule

EVERY_S = 300.0
LEAST_GAP_S = 60.0
"""Between the starts of two checks of one."""
MOST_PER_S = 20.0
"""Checks of all together."""
PLANNED_PER_S = 16.0
"""Rounds are made so long that no more fall due: phases cluster, and what is late has to end."""
LONGEST_PAUSE_S = 3600.0


@dataclass(slots=True)
class _Turn:
    """Where one stands: the round that is next or under way, and the failures before it."""

    schedule: Schedule
    round: int
    failures: int = 0
    began: float = -math.inf


class Rota:
    """Turns of many, by number. Times are seconds of one monotonic clock.

    Rounds lie fixed on the wall clock as it was at the start: a process that is restarted again
    and again begins no round of its own, so it checks nobody more often than one that runs on.
    """

    def __init__(self, keys: Sequence[str], *, every_s: float, now: float, wall_s: float) -> None:
        """Every `every_s`, or as seldom as so many need; `wall_s` is `now` as seconds since 1970.

        The place in a round is a hash of the key (see `Schedule`).
        """
        self.interval_s = max(every_s, len(keys) / PLANNED_PER_S)
        self._turns = []
        self._due: list[tuple[float, int]] = []
        self._free_at = now
        for number, key in enumerate(keys):
            schedule = Schedule.of(key, start=now - wall_s, interval_s=self.interval_s)
            self._turns.append(_Turn(schedule, schedule.next_round(-1, now)))
            self._plan(number)

    def next_at(self) -> float:
        """When `take` gives somebody; infinity while all are under way."""
        return max(self._due[0][0], self._free_at) if self._due else math.inf

    def take(self, now: float) -> int | None:
        """Who is to be checked now, and then is under way until `ended`."""
        if now < self.next_at():
            return None
        _, number = heapq.heappop(self._due)
        self._free_at = now + 1 / MOST_PER_S
        self._turns[number].began = now
        return number

    def ended(self, number: int, *, answered: bool, now: float) -> None:
        """Its check is over; one that does not answer is left alone twice as long, up to 1 h."""
        turn = self._turns[number]
        turn.failures = 0 if answered else turn.failures + 1
        most = max(1, int(LONGEST_PAUSE_S // self.interval_s))
        rounds = min(most, 1 << min(turn.failures, 10))
        turn.round = turn.schedule.next_round(turn.round + rounds - 1, now)
        self._plan(number)

    def _plan(self, number: int) -> None:
        turn = self._turns[number]
        at = max(turn.schedule.at(turn.round), turn.began + LEAST_GAP_S)
        heapq.heappush(self._due, (at, number))
