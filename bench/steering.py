"""Benchmark of steering: learned RTT, prices by capacity, and load control through caches.

    python bench/steering.py [--part rtt,memory,capacity,loop] [--seeds 2] [--mesh FILE] [--plots]

See bench/README.md for what is drawn and docs/steering-figures.md for what it means.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, see below)

from __future__ import annotations

import argparse
import itertools
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

# With this folder on sys.path `import dns` would find bench/dns.py instead of dnspython.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0:1] = [str(ROOT), str(ROOT / "tests")]

from bench.capacity import Build, plan_world
from bench.ecs_cache import CITIES
from bench.internet import Floats, Ints, World, synthetic
from bench.loop import (
    EDGES,
    END_S,
    TTL_S,
    Controller,
    Hour,
    by_draining,
    by_prices,
    simulate,
    uncontrolled,
)
from bench.mesh import MeshError, mesh
from bench.plots import chart

from firsthop_steering.arrays import Keys
from firsthop_steering.planner.planner import PLAN_S
from firsthop_steering.rtt import exploration, hysteresis
from firsthop_steering.rtt.estimates import Terrain
from firsthop_steering.rtt.learned import Learned
from firsthop_steering.rtt.model import RttModel
from firsthop_steering.rtt.samples import Samples

ANSWERS_A_ROUND = 5
AT = (0, 20, 100, 300)
LASTS_H = 12.0
"""Hours from the first answer to the last."""


def by_distance(world: World) -> Floats:
    """gdnsd's auto_dc_coords: great-circle distance, nearest first."""
    return world.cell_distances_km[world.believed]


def by_degrees(world: World) -> Floats:
    """PowerDNS's pickclosest: Euclidean distance of latitude and longitude in degrees."""
    at = world.cells[world.believed]
    across = np.abs(at[:, None, 1] - world.regions[None, :, 1])
    across = np.where(across > 180, 360 - across, across)
    return (at[:, None, 0] - world.regions[None, :, 0]) ** 2 + across**2


def by_country(world: World) -> Floats:
    """Country maps: each country to the region nearest to the mean of its cells."""
    distances = world.cell_distances_km
    count = int(world.cell_countries.max()) + 1
    size = np.bincount(world.cell_countries, minlength=count)
    mean = np.stack(
        [np.bincount(world.cell_countries, d, count) / np.maximum(size, 1) for d in distances.T], 1
    )
    return mean[world.cell_countries[world.believed]]


def score(order: Ints, truth: Floats) -> str:
    """A row's figures: share on the best region, mean and p95 excess; also after a failure."""
    excess, second = excesses(order, truth)
    return (
        f"{(excess <= 0).mean():7.1%} {excess.mean():7.2f} {np.percentile(excess, 95):7.1f}"
        f"   {(second <= 0).mean():7.1%} {second.mean():7.2f} {np.percentile(second, 95):7.1f}"
    )


class Life:
    """A world that is steered, measured and learned, one planning round at a time."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.draw = np.random.default_rng(seed)
        distances = world.cell_distances_km
        self.terrain = Terrain(
            np.vstack([distances, distances.mean(axis=0)]),
            np.append(world.cell_countries, world.cell_countries.max() + 1),
        )
        self.prefixes = np.arange(len(world.believed), dtype=np.uint64)
        self.model = RttModel()
        self.learned = self._learn(0)
        cold = self.learned.of_groups(world.believed, world.asns)
        self.order = hysteresis.first_order(cold.rtt_ms)
        nothing = np.zeros_like(cold.rtt_ms)
        self.exploration = exploration.Exploration(nothing[:, 0], nothing)
        self.explored = self.changes = 0
        self.learn_s: list[float] = []

    def _locate(self, prefixes: Keys) -> tuple[Ints, Ints]:
        place = prefixes.astype(np.int64)
        return self.world.believed[place], self.world.asns[place]

    def _learn(self, now: int) -> Learned:
        return self.model.learn(self.terrain, self._locate, now=now)

    def round(self, number: int, rounds: int) -> None:
        """ANSWERS_A_ROUND answers per prefix, then a planning round."""
        now = int(LASTS_H * 3600 * number / rounds)
        truth = self.truth(number, rounds)
        prefixes = np.tile(np.arange(len(self.prefixes)), ANSWERS_A_ROUND)
        regions = self.order.held[prefixes, 0]
        curious = np.flatnonzero(self.draw.random(len(prefixes)) < self.exploration.rates[prefixes])
        extra = exploration.choose(
            self.exploration.gain_ms[prefixes[curious]],
            self.draw.random((len(curious), exploration.CANDIDATES)),
        )
        self.explored += int((extra[:, 0] >= 0).sum())
        place, turn = np.nonzero(extra >= 0)
        prefixes = np.concatenate([prefixes, prefixes[curious[place]]])
        regions = np.concatenate([regions, extra[place, turn]])
        samples = Samples(
            prefixes.astype(np.uint64), regions, self.draw.integers(0, 50, len(prefixes)),
            self.world.sample(truth[prefixes, regions], prefixes, self.draw),
        )  # fmt: skip
        self.model.observe(self.reported(samples, number), now=now)
        began = time.perf_counter()
        self._plan(now)
        self.learn_s.append(time.perf_counter() - began)

    def reported(self, samples: Samples, number: int) -> Samples:
        """What arrives of the honest samples of a round; `bench/liars.py` adds others."""
        return samples

    def _plan(self, now: int) -> None:
        self.learned = self._learn(now)
        found = self.learned.of_prefixes(slice(None))
        before = self.order.held[:, 0]
        self.order = hysteresis.reorder(self.order, found.rtt_ms, found.deviation_ms)
        self.changes += int((self.order.held[:, 0] != before).sum())
        bounds = exploration.lower_bounds_ms(found)
        everywhere = np.ones(found.rtt_ms.shape, dtype=bool)
        self.exploration = exploration.explore(
            bounds, found.rtt_ms, self.order.held, everywhere, np.ones(len(self.prefixes))
        )

    def truth(self, number: int, rounds: int) -> Floats:
        """True RTTs in this round."""
        return self.world.rtt_at(LASTS_H * number / rounds, late=number * 2 > rounds)


@dataclass(frozen=True, slots=True)
class History:
    """Mean excess over the best region in ms by answers per prefix, also after a failure."""

    answers: list[int]
    excess_ms: list[float]
    after_death_ms: list[float]
    by_distance_ms: tuple[float, float]


def excesses(order: Ints, truth: Floats) -> tuple[Floats, Floats]:
    """Excess RTT over the best region: of the first, and of the second if the first fails."""
    rows = np.arange(len(truth))
    dead = truth.copy()
    dead[rows, order[:, 0]] = np.inf
    return (
        truth[rows, order[:, 0]] - truth.min(axis=1),
        dead[rows, order[:, 1]] - dead.min(axis=1),
    )


def learn_and_compare(world: World, seed: int) -> History:
    """Prints the table of one world."""
    print(f"{'':24}{'on best':>7} {'mean':>7} {'p95':>7}   {'2nd best':>7} {'mean':>7} {'p95':>7}")
    life = Life(world, seed)
    rounds = AT[-1] // ANSWERS_A_ROUND
    for name, ranked in (
        ("distance, as gdnsd", by_distance(world)),
        ("degrees, as PowerDNS", by_degrees(world)),
        ("country maps", by_country(world)),
    ):
        print(f"{name:24}{score(np.argsort(ranked, axis=1, kind='stable'), life.truth(0, rounds))}")
    nearest = np.argsort(by_distance(world), axis=1, kind="stable")
    first, second = excesses(nearest, life.truth(0, rounds))
    history = History([], [], [], (float(first.mean()), float(second.mean())))
    for number in range(rounds + 1):
        first, second = excesses(life.order.held, life.truth(number, rounds))
        history.answers.append(number * ANSWERS_A_ROUND)
        history.excess_ms.append(float(first.mean()))
        history.after_death_ms.append(float(second.mean()))
        answers = number * ANSWERS_A_ROUND
        if answers in AT:
            what = "cold" if not answers else f"{answers} answers"
            print(f"{'learned, ' + what:24}{score(life.order.held, life.truth(number, rounds))}")
        if number < rounds:
            life.round(number, rounds)
    total = len(life.prefixes) * AT[-1]
    print(
        f"{life.explored / total:.2%} of the answers tried {exploration.CANDIDATES} more regions; "
        f"{life.changes / len(life.prefixes):.2f} changes of the first region a prefix; "
        f"{life.learned.lost.sum()} of {len(life.prefixes)} prefixes placed anew; "
        f"a plan takes {np.median(life.learn_s):.3f} s"
    )
    return history


def memory(prefixes: int) -> None:
    """Memory and time of this many prefixes with four measured regions each."""
    draw = np.random.default_rng(1)
    places = [(each.latitude, each.longitude) for each in CITIES]
    world = synthetic(places, prefixes=1000, seed=1)
    distances = world.cell_distances_km
    terrain = Terrain(
        np.vstack([distances, distances.mean(axis=0)]), np.append(world.cell_countries, 0)
    )
    cells = draw.integers(0, len(world.cells), prefixes)
    asns = cells * 32 + draw.integers(0, 32, prefixes)
    model = RttModel()
    for _ in range(4):
        regions = draw.integers(0, len(places), prefixes)
        rtt = 8 + 0.02 * distances[cells, regions] + draw.exponential(3, prefixes)
        model.observe(
            Samples(np.arange(prefixes, dtype=np.uint64), regions, regions % 7, rtt), now=0
        )
    print(f"\n{prefixes:,} prefixes: {model.ledger.bytes / 1e6:.0f} MB kept", end="; ")
    began = time.process_time()
    learned = model.learn(terrain, lambda p: (cells[p.astype(int)], asns[p.astype(int)]), now=0)
    print(f"learned in {time.process_time() - began:.1f} s CPU", end=", ")
    began = time.process_time()
    for start in range(0, prefixes, 50_000):
        learned.of_prefixes(slice(start, start + 50_000))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"read in {time.process_time() - began:.1f} s, {peak:.0f} MB at the most")


def capacity_table(seed: int) -> None:
    """The planner with 5,000 groups and 50 or 24 regions, including every single loss."""
    print(
        f"\ncapacity, seed {seed}: share of the demand above it (nearest only, planned, worst loss,"
        "\nworst loss not planned for), highest use; mean RTT in ms (nearest, optimum, planned); "
        "\nCPU s (cold, again, all losses)"
    )
    for groups, count in ((5000, 50), (2000, 24)):
        names = [each.id for each in CITIES[:count]]
        places = [(each.latitude, each.longitude) for each in CITIES[:count]]
        world = synthetic(places, prefixes=groups, seed=seed)
        for build, times in itertools.product(get_args(Build), (1.1, 1.25)):
            found = plan_world(world, names, times=times, build=build, seed=seed)
            print(
                f"{groups} x {count} {times:4} x {build:9}"
                f"{found.nearest_over:7.2%}{found.over:7.2%}{found.loss_over:7.2%}"
                f"{found.loss_at_once:7.2%}{found.fullest:7.3f}  "
                f"{found.nearest_ms:6.2f}{found.optimum_ms:7.2f}{found.mean_ms:7.2f}  "
                f"{found.cold_s:5.2f}{found.again_s:6.2f}{found.losses_s:6.2f}"
            )


def loop_table(seed: int) -> dict[str, Hour]:
    """Compares no control, on/off drains, and prices of the leader or of isolated edges."""
    count = 24
    names = [each.id for each in CITIES[:count]]
    world = synthetic(
        [(each.latitude, each.longitude) for each in CITIES[:count]], prefixes=400, seed=seed
    )
    draw = np.random.default_rng(seed)
    nearest = np.bincount(
        world.rtt_ms.argmin(axis=1), np.random.default_rng(seed).lognormal(0, 1, 400), count
    )
    capacity = np.maximum(nearest * draw.lognormal(0, 0.3, count), nearest.sum() / count / 5)
    capacity *= 1e5 / capacity.sum()  # sessions
    hours = {}
    print(f"\n70 minutes through caches (TTL {TTL_S} s, plans every {PLAN_S:.0f} s), seed {seed}")
    print(
        "above capacity from two minutes after a surge on: mean, worst, seconds with any; "
        "worst of all; moved; swings"
    )

    def by(isolated: int = 0, *, held: bool = False) -> Controller:
        return by_prices(world, capacity, names, isolated, held=held)

    for name, control, session_s in (
        ("nearest", uncontrolled(capacity), 0.0),
        ("on/off drain", by_draining(capacity), 0.0),
        ("prices", by(), 0.0),
        ("all cut off, held", by(EDGES, held=True), 0.0),
        ("all cut off, alone", by(EDGES), 0.0),
        ("one of three cut off, alone", by(1), 0.0),
        ("prices, sessions of 5 min", by(), 300.0),
        ("all alone, sessions of 5 min", by(EDGES), 300.0),
    ):
        hour = hours[name] = simulate(world, capacity, names, control, seed, session_s=session_s)
        print(
            f"{name:28} {hour.answered.mean():7.3%} {hour.answered.max():6.2%} "
            f"{np.count_nonzero(hour.answered):5} "
            f"{hour.overload.max():6.2%} {hour.moved:6.2f} {hour.swings:6.2f}",
            flush=True,
        )
    return hours


def write_plots(folder: Path, histories: list[History], hours: list[dict[str, Hour]]) -> None:
    """Writes the plots of docs/steering.md for the first seed."""
    folder.mkdir(parents=True, exist_ok=True)
    if histories:
        history = histories[0]
        count = len(history.answers)
        lines = {
            "first region": history.excess_ms,
            "after its death": history.after_death_ms,
            "by distance": [history.by_distance_ms[0]] * count,
            "by distance, after a death": [history.by_distance_ms[1]] * count,
        }
        (folder / "learning.svg").write_text(
            chart(lines, history.answers, across="answers a prefix", up="mean excess, ms")
        )
    if hours:
        minutes = [second / 60 for second in range(0, END_S, 10)]
        lines = {
            name: hours[0][name].utilisation[::10].max(axis=1).tolist()
            for name in ("nearest", "all cut off, held", "all cut off, alone", "prices")
        }
        (folder / "surge.svg").write_text(
            chart(lines, minutes, across="minutes", up="use of the fullest region", ceiling=3.0)
        )


def main() -> None:
    """Prints the tables."""
    options = argparse.ArgumentParser(description="Steering by learned RTT and by prices.")
    options.add_argument("--part", default="rtt,memory,capacity,loop")
    options.add_argument("--prefixes", type=int, default=2000)
    options.add_argument("--regions", type=int, default=24, help=f"up to {len(CITIES)}")
    options.add_argument("--seeds", type=int, default=2)
    options.add_argument("--rough", type=float, default=1.0, help="scales the spread of paths")
    options.add_argument("--mesh", type=Path, help="a measured mesh, .json or .csv: RTT only")
    options.add_argument("--per-site", type=int, default=1, help="prefixes a site of a mesh")
    options.add_argument("--misplaced", type=float, default=0.0, help="share, in a mesh")
    options.add_argument("--plots", type=Path, help="folder to write the plots of the docs to")
    chosen = options.parse_args()
    parts = ["rtt"] if chosen.mesh else chosen.part.split(",")
    histories: list[History] = []
    for seed in range(1, chosen.seeds + 1):
        if "rtt" in parts:
            histories.append(learn_and_compare(_world(chosen, seed), seed))
    if "memory" in parts:
        memory(1_000_000)
    if "capacity" in parts:
        for seed in range(1, chosen.seeds + 1):
            capacity_table(seed)
    hours = [loop_table(seed) for seed in range(1, chosen.seeds + 1)] if "loop" in parts else []
    if chosen.plots:
        write_plots(chosen.plots, histories, hours)


def _world(chosen: argparse.Namespace, seed: int) -> World:
    places = [(each.latitude, each.longitude) for each in CITIES[: chosen.regions]]
    if chosen.mesh is None:
        print(f"\nsynthetic internet {seed}: {chosen.prefixes} prefixes, {len(places)} regions")
        return synthetic(places, prefixes=chosen.prefixes, seed=seed, rough=chosen.rough)
    try:
        world = mesh(
            chosen.mesh, relays=chosen.regions, per_site=chosen.per_site,
            misplaced=chosen.misplaced, seed=seed,
        )  # fmt: skip
    except MeshError as wrong:
        raise SystemExit(f"{chosen.mesh}: {wrong}") from None
    print(f"\n{chosen.mesh.name}, seed {seed}: {len(world.believed)} prefixes, ", end="")
    print(f"{len(world.regions)} relays")
    return world


if __name__ == "__main__":
    main()
