"""Ten minutes of a relay, a thousand times: it neither flaps nor can one vantage of three lie.

The pure machines alone, a check a second from three vantages, with the default rise and fall.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence

import pytest

from firsthop_steering.health.damping import Damping, hold, turned
from firsthop_steering.health.families import combined_verdict
from firsthop_steering.health.quorum import AddressView, count, updated_view
from firsthop_steering.health.verdicts import Liveness, Streak, observe
from firsthop_steering.plan.model import Probe

SEEDS = 1000
RISE, FALL = Probe().rise, Probe().fall
NOBODY: frozenset[str] = frozenset()


class Simulated:
    """One relay behind three vantages; `turns` has the second of each turn between up and down."""

    def __init__(self) -> None:
        self.verdict: Liveness = "unknown"
        self.turns: list[int] = []
        self.second = 0
        self._damping = Damping()
        self._streaks = [Streak()] * 3
        self._words: dict[str, AddressView] = {}

    def check(self, outcomes: Sequence[bool], lie: Liveness | None = None) -> None:
        """One second: what the checks of each vantage found; the last may say `lie` instead."""
        for i, passed in enumerate(outcomes):
            streak = self._streaks[i] = observe(self._streaks[i], passed, RISE, FALL)
            self._words["abc"[i]] = updated_view(
                self._words.get("abc"[i]),
                streak.verdict if i < 2 or lie is None else lie,
                checked_at=float(self.second),
                cause="" if passed else "timeout",
                is_new=True,
            )
        self._judge()
        self.second += 1

    def _judge(self) -> None:
        before, now = self.verdict, float(self.second)
        summary = count(self._words, NOBODY, before)
        if summary.verdict == before:
            return
        held = hold(
            self._damping,
            summary.verdict,
            previous=before,
            counted=summary.counted,
            fall=FALL,
            now=now,
        )
        if held is not None:
            self._damping = held.state
            return
        self._damping = turned(self._damping, summary.verdict, before, now=now)
        self.verdict = summary.verdict
        if before != "unknown":
            self.turns.append(self.second)

    def run(self, seconds: int, passes: Callable[[], bool]) -> None:
        for _ in range(seconds):
            self.check((passes(), passes(), passes()))


def losing(share: float, rng: random.Random) -> Callable[[], bool]:
    return lambda: rng.random() >= share


def test_a_relay_that_fails_three_of_ten_checks_does_not_flap() -> None:
    """At most two turns in ten minutes, for every seed; and it does go down for most."""
    turns = []
    for seed in range(SEEDS):
        relay = Simulated()
        relay.run(10, lambda: True)
        relay.run(600, losing(0.3, random.Random(seed)))
        turns.append(len(relay.turns))
    assert max(turns) <= 2
    assert turns.count(1) > 0.9 * SEEDS


def test_a_relay_with_two_addresses_that_fail_three_of_ten_checks_does_not_flap() -> None:
    """Each has dice of its own; by both together it turns at most twice, and goes down for most."""
    fallen = 0
    for seed in range(SEEDS // 4):
        addresses = Simulated(), Simulated()
        dice = [losing(0.3, random.Random(f"{seed} {family}")) for family in (4, 6)]
        summary: list[Liveness] = []
        for second in range(610):
            for address, passes in zip(addresses, dice, strict=True):
                address.run(1, passes if second >= 10 else lambda: True)
            summary.append(combined_verdict([address.verdict for address in addresses]))
        turns = sum(before != after for before, after in itertools.pairwise(summary[10:]))
        assert turns <= 2, seed
        assert all(len(address.turns) <= 2 for address in addresses), seed
        fallen += turns > 0
    assert fallen > 0.9 * (SEEDS // 4)


@pytest.mark.parametrize("loss", [0.3, 0.5, 0.8])
def test_an_outage_is_seen_after_fall_checks_whatever_was_before(loss: float) -> None:
    """Damped, on probation or held down: once all fail at all vantages it is down, no later."""
    for seed in range(50):
        relay, rng = Simulated(), random.Random(seed)
        relay.run(10, lambda: True)
        for _ in range(3):
            relay.run(rng.randrange(5, 120), losing(loss, rng))
            relay.run(rng.randrange(1, 90), lambda: True)
            relay.run(FALL, lambda: False)
            assert relay.verdict == "down", (seed, relay.second)


@pytest.mark.parametrize("outage_s", [FALL, 4, 20, 3600])
def test_a_clean_outage_ends_after_rise_checks(outage_s: int) -> None:
    """Down with the third failure, up with the second success."""
    relay = Simulated()
    relay.run(60, lambda: True)
    relay.run(outage_s, lambda: False)
    relay.run(60, lambda: True)
    assert relay.turns == [60 + FALL - 1, 60 + outage_s + RISE - 1]


@pytest.mark.parametrize("loss", [0.01, 0.05, 0.1])
def test_a_little_loss_turns_nothing_and_does_not_keep_a_relay_down(loss: float) -> None:
    """An hour after an outage at the latest; almost always long before."""
    for seed in range(5):
        relay, passes = Simulated(), losing(loss, random.Random(seed))
        relay.run(120, passes)
        assert relay.verdict == "up"
        relay.run(30, lambda: False)
        assert relay.verdict == "down"
        while relay.verdict == "down" and relay.second < 3600:
            relay.run(1, passes)
        assert relay.verdict == "up", seed


LIES: tuple[Liveness | None, ...] = ("up", "down", "unknown", None)


def spells(rng: random.Random, shortest: int, longest: int) -> list[bool]:
    """Ten minutes, second by second: whether the relay is alive, in turn for a while and not."""
    seconds: list[bool] = []
    alive = True
    while len(seconds) < 600:
        seconds += [alive] * rng.randint(shortest, longest)
        alive = not alive
    return seconds


def test_a_lying_vantage_of_three_changes_nothing() -> None:
    """Whatever the third says, second by second: a steady relay keeps its verdict for good."""
    for seed in range(SEEDS):
        relay, rng = Simulated(), random.Random(seed)
        alive = seed % 2 == 0
        relay.run(FALL, lambda alive=alive: alive)  # type: ignore[misc]
        for _ in range(60):
            relay.check((alive, alive, rng.random() < 0.5), rng.choice(LIES))
        assert (relay.verdict == "up") == alive, seed
        assert not relay.turns, seed


def test_a_lying_vantage_of_three_delays_nothing() -> None:
    """A relay that dies and comes back every minute or two turns as if all were honest."""
    for seed in range(100):
        honest, deceived = Simulated(), Simulated()
        rng = random.Random(seed)
        for alive in spells(rng, 70, 150):
            honest.check((alive, alive, alive))
            deceived.check((alive, alive, rng.random() < 0.5), rng.choice(LIES))
        assert deceived.turns == honest.turns, seed
        assert len(honest.turns) >= 3


def test_a_lying_vantage_of_three_cannot_hide_that_a_crashing_relay_is_down() -> None:
    """On probation it can win `fall` checks, and no more."""
    for seed in range(100):
        relay, rng, dead_for = Simulated(), random.Random(seed), 0
        for alive in spells(rng, 5, 40):
            relay.check((alive, alive, rng.random() < 0.5), rng.choice(LIES))
            dead_for = 0 if alive else dead_for + 1
            assert dead_for < 2 * FALL or relay.verdict == "down", seed
