"""Benchmark of steering by learned RTT while some of the reports are lies.

    python bench/liars.py [--liars NAME,…] [--seeds 2] [--prefixes 2000] [--regions 24]

Every kind of liar lives in the world of `bench/steering.py` (`--part rtt`), beside the same honest
reports; the first line is without liars. Afterwards the lying sources are forgotten. See
docs/steering-figures.md for what the figures mean.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, see below)

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# With this folder on sys.path `import dns` would find bench/dns.py instead of dnspython.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0:1] = [str(ROOT), str(ROOT / "tests")]

from bench.ecs_cache import CITIES
from bench.internet import Floats, Ints, World, synthetic
from bench.steering import ANSWERS_A_ROUND, AT, Life, excesses

from firsthop_steering.rtt.samples import Samples
from firsthop_steering.rtt.sources import source_number

LOW_MS, HIGH_MS = 0.5, 2000.0
SHARE = 0.05
"""Share of the prefixes that have a liar, where liars are in single prefixes."""


@dataclass(frozen=True, slots=True)
class Lying:
    """What liars see of a round: the honest samples, its number, and the world."""

    samples: Samples
    number: int
    world: World
    draw: np.random.Generator
    victims: Ints
    """The prefixes that have a liar, where liars are in single prefixes."""

    def where(self, lies: np.ndarray[Any, np.dtype[np.bool_]], rtt_ms: Floats | float) -> Samples:
        """The honest samples, of which those of a mask say something else."""
        told = self.samples
        rtt = np.where(lies, rtt_ms, told.rtt_ms)
        return Samples(told.prefixes, told.regions, told.sources, rtt)

    def beside(self, prefixes: Ints, regions: Ints, sources: Ints, rtt_ms: float) -> Samples:
        """The honest samples, and lies beside them."""
        told = self.samples
        return Samples(
            np.concatenate([told.prefixes, prefixes.astype(np.uint64)]),
            np.concatenate([told.regions, regions]),
            np.concatenate([told.sources, sources]),
            np.concatenate([told.rtt_ms, np.full(len(prefixes), rtt_ms)]),
        )

    def farthest(self, prefixes: Ints) -> Ints:
        """The region that is farthest from each prefix."""
        return self.world.rtt_ms[prefixes].argmax(axis=1)


def _any(rtt_ms: float) -> Callable[[Lying], Samples]:
    return lambda at: at.where(at.draw.random(len(at.samples)) < 0.02, rtt_ms)


def _half(at: Lying) -> Samples:
    """Half of the reports of a victim prefix, about whatever region it measures."""
    mine = np.isin(at.samples.prefixes.astype(np.int64), at.victims)
    return at.where(mine & (at.draw.random(len(mine)) < 0.5), LOW_MS)


def _half_high(at: Lying) -> Samples:
    mine = np.isin(at.samples.prefixes.astype(np.int64), at.victims)
    return at.where(mine & (at.draw.random(len(mine)) < 0.5), HIGH_MS)


def _one_for_one(at: Lying) -> Samples:
    """For every honest report of a victim prefix one about the farthest relay, by one source."""
    prefixes = np.repeat(at.victims, ANSWERS_A_ROUND)
    return at.beside(prefixes, at.farthest(prefixes), 60 + prefixes % 3, LOW_MS)


def _collusion(at: Lying) -> Samples:
    """The same by eight sources, which are all that report about that relay there."""
    prefixes = np.repeat(at.victims, 8)
    sources = np.tile(np.arange(60, 68), len(at.victims))
    return at.beside(prefixes, at.farthest(prefixes), sources, LOW_MS)


def _sources(at: Lying) -> Samples:
    """A tenth of the sources, about one relay."""
    return at.where((at.samples.sources < 5) & (at.samples.regions == 3), LOW_MS)


def _sources_everywhere(at: Lying) -> Samples:
    """The same sources also invent reports about that relay, of ten prefixes each a round."""
    lies = _sources(at)
    prefixes = at.draw.integers(0, len(at.world.believed), 50)
    told = Lying(lies, at.number, at.world, at.draw, at.victims)
    return told.beside(prefixes, np.full(50, 3), np.repeat(np.arange(5), 10), LOW_MS)


def _one_token(kind: str) -> Callable[[Lying], Samples]:
    """One token invents 3,840 reports about one relay in each of twenty rounds."""

    def lie(at: Lying) -> Samples:
        if at.number >= 20:
            return at.samples
        prefixes = at.draw.integers(0, len(at.world.believed), 3840)
        source = source_number(kind, "thief")  # type: ignore[arg-type]
        return at.beside(prefixes, np.full(3840, 3), np.full(3840, source), LOW_MS)

    return lie


def _drift(at: Lying) -> Samples:
    """A tenth of the sources say 1 % less in every round, down to a half."""
    factor = max(1 - 0.01 * at.number, 0.5)
    return at.where(at.samples.sources < 5, np.maximum(at.samples.rtt_ms * factor, LOW_MS))


def _drift_of_half(at: Lying) -> Samples:
    """Half of the reports of a victim prefix drift up to three times the truth."""
    mine = np.isin(at.samples.prefixes.astype(np.int64), at.victims)
    lies = mine & (at.draw.random(len(mine)) < 0.5)
    return at.where(lies, np.minimum(at.samples.rtt_ms * (1 + 0.05 * at.number), HIGH_MS))


def _plausible(at: Lying) -> Samples:
    """A tenth of the sources say two thirds of the truth, about one relay."""
    lies = (at.samples.sources < 5) & (at.samples.regions == 3)
    return at.where(lies, at.samples.rtt_ms * 0.67)


def _jumble(at: Lying) -> Samples:
    """2 % of the samples say anything between 0.5 and 500 ms."""
    lies = at.draw.random(len(at.samples)) < 0.02
    return at.where(lies, at.draw.uniform(0.5, 500.0, len(lies)))


LIARS: Mapping[str, Callable[[Lying], Samples]] = {
    "nobody": lambda at: at.samples,
    "2% low": _any(LOW_MS),
    "2% high": _any(HIGH_MS),
    "2% anything": _jumble,
    "half low": _half,
    "half high": _half_high,
    "one for one": _one_for_one,
    "collusion": _collusion,
    "10% of sources": _sources,
    "10% everywhere": _sources_everywhere,
    "10% plausible": _plausible,
    "10% drift": _drift,
    "half drift": _drift_of_half,
    "client token": _one_token("browser"),
    "agent token": _one_token("agent"),
}
"""Kinds of liars; "half", "one for one" and "collusion" are in SHARE of the prefixes."""


class LyingLife(Life):
    """A life in which liars report beside honest clients."""

    def __init__(self, world: World, seed: int, lie: Callable[[Lying], Samples]) -> None:
        self._lie = lie
        self._liars_draw = np.random.default_rng(seed + 1000)
        count = len(world.believed)
        self.victims = self._liars_draw.choice(count, int(SHARE * count), replace=False)
        super().__init__(world, seed)

    def reported(self, samples: Samples, number: int) -> Samples:
        """The honest samples with the lies of the round."""
        return self._lie(Lying(samples, number, self.world, self._liars_draw, self.victims))


@dataclass(frozen=True, slots=True)
class LivedThrough:
    """Excess over the best region: at AT answers, and its mean of each prefix from 100 on."""

    best: list[float]
    mean_ms: list[float]
    of_prefix_ms: Floats


def live(life: LyingLife) -> LivedThrough:
    """One life."""
    rounds = AT[-1] // ANSWERS_A_ROUND
    found = LivedThrough([], [], np.zeros(len(life.prefixes)))
    late = 0
    for number in range(rounds + 1):
        first, _ = excesses(life.order.held, life.truth(number, rounds))
        answers = number * ANSWERS_A_ROUND
        if answers in AT[1:]:
            found.best.append(float((first <= 0).mean()))
            found.mean_ms.append(float(first.mean()))
        if answers >= 100:
            late += 1
            np.add(found.of_prefix_ms, first, out=found.of_prefix_ms)
        if number < rounds:
            life.round(number, rounds)
    np.divide(found.of_prefix_ms, late, out=found.of_prefix_ms)
    return found


def main() -> None:
    """Prints a line for each kind of liar and seed."""
    options = argparse.ArgumentParser(description="Steering by learned RTT beside liars.")
    options.add_argument("--liars", default=",".join(LIARS))
    options.add_argument("--prefixes", type=int, default=2000)
    options.add_argument("--regions", type=int, default=24)
    options.add_argument("--seeds", type=int, default=2)
    chosen = options.parse_args()
    names = [name for name in chosen.liars.split(",") if name != "nobody"]
    places = [(each.latitude, each.longitude) for each in CITIES[: chosen.regions]]
    for seed in range(1, chosen.seeds + 1):
        world = synthetic(places, prefixes=chosen.prefixes, seed=seed)
        print(f"\nseed {seed}: in the best region and mean excess after 20, 100, 300 answers; ")
        print(
            "mean ms moved from 100 answers on: all prefixes, those without a liar, the worst 1 %"
        )
        without: Floats | None = None
        for name in ["nobody", *names]:
            life = LyingLife(world, seed, LIARS[name])
            found = live(life)
            without = found.of_prefix_ms if without is None else without
            moved = found.of_prefix_ms - without
            others = np.ones(len(moved), dtype=bool)
            others[life.victims] = False
            figures = "".join(
                f"{best:7.1%} {mean:6.2f}"
                for best, mean in zip(found.best, found.mean_ms, strict=True)
            )
            print(
                f"{name:16}{figures}   {moved.mean():6.2f} {moved[others].mean():6.2f} "
                f"{np.percentile(moved[others], 99):7.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
