"""Time from a fault to the last wrong answer of every edge, and from its end to the right ones.

    python bench/failover.py [--trials 200] [--seed N] [--causes crash,kill,hole,drain,patch]

A whole deployment in network namespaces (tests/field): three vantages that check every second,
three edges, one relay per region. Each trial breaks one relay at a random phase of the checks,
queries every edge 125 times a second for a client nearest to it, and repairs it. Needs root.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, see below)

from __future__ import annotations

import argparse
import itertools
import math
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

# With this folder on sys.path `import dns` would find bench/dns.py instead of dnspython.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0:1] = [str(ROOT), str(ROOT / "tests")]

from field.asking import Heard, Poller
from field.namespaces import why_not
from field.programs import Program
from field.world import CLIENTS, Field
from firsthop.up.demo import SERVICE

POLL_S = 0.008
SETTLED_S = 0.5  # a change ends when all edges have answered alike for so long
SETTLED_ANSWERS = 20
GIVE_UP_S = 90.0
REST_S = 90.0  # between failures of one relay, or damping (docs/health.md) delays its return

Phase = Literal["failure", "recovery"]


class Cause(NamedTuple):
    """One way to make answers with a relay wrong, and to end that."""

    title: str
    break_: Callable[[Field, str], float]
    """Returns the time from which answers with the relay are wrong, in seconds since 1970."""
    mend: Callable[[Field, str], float]
    known: Literal["verdict", "crashed", "draining", "plan"]
    """How the control plane detects it: a change of the verdict, a report of the relay's agent, or
    an operator's request."""


def crash(field: Field, region: str) -> float:
    """Kills the relay's process; its agent keeps running and reports it."""
    at = time.time()
    field.programs[f"relay-{region}"].kill()
    return at


def start(field: Field, region: str) -> float:
    """Starts the relay's process again; returns the time at which it listens."""
    relay = field.programs[f"relay-{region}"]
    since = time.time()
    relay.start()
    return _listening(relay, since)


def kill(field: Field, region: str) -> float:
    """Stops the relay's host, including the agent."""
    field.programs[f"agent-{region}"].kill()
    at = time.time()
    field.programs[f"relay-{region}"].kill()
    return at


def restart(field: Field, region: str) -> float:
    """Starts the host again; returns the time at which the relay listens."""
    relay = field.programs[f"relay-{region}"]
    since = time.time()
    relay.start()
    field.programs[f"agent-{region}"].start()
    return _listening(relay, since)


def _listening(relay: Program, since: float) -> float:
    while True:
        for line in relay.said("relay.listening", since):
            return float(line["at"])
        time.sleep(0.01)


def hole(field: Field, region: str) -> float:
    """Drops every packet to and from the relay and its agent."""
    at = time.time()
    field.programs[f"relay-{region}"].place.drop()
    return at


def fill(field: Field, region: str) -> float:
    """Lets packets pass again."""
    at = time.time()
    field.programs[f"relay-{region}"].place.mend()
    return at


def drain(field: Field, region: str) -> float:
    """Makes the agent request no new sessions."""
    return _signal(field, region, signal.SIGUSR1)


def undrain(field: Field, region: str) -> float:
    """Makes the agent withdraw that."""
    return _signal(field, region, signal.SIGUSR2)


def _signal(field: Field, region: str, number: signal.Signals) -> float:
    at = time.time()
    field.programs[f"agent-{region}"].send(number)
    return at


def weight(field: Field, region: str, value: int) -> float:
    """An admin's PATCH of the region's weight; counts from before it is sent."""
    path = f"/v1/regions/{region}"
    tag = field.etag(path)
    at = time.time()
    status, said = field.call("PATCH", f"{path}?force=true", {"weight": value}, **{"If-Match": tag})
    assert status == 200, said
    return at


CAUSES = {
    "crash": Cause("`kill -9` of the relay, its agent lives", crash, start, "crashed"),
    "kill": Cause("`kill -9` of the relay and its agent", kill, restart, "verdict"),
    "hole": Cause("black-hole before the relay", hole, fill, "verdict"),
    "drain": Cause("its agent drains it", drain, undrain, "draining"),
    "patch": Cause(
        "`PATCH` of the region's weight",
        lambda field, region: weight(field, region, 0),
        lambda field, region: weight(field, region, 100),
        "plan",
    ),
}


class Trial(NamedTuple):
    """Durations of one change in seconds; the worst of all edges."""

    cause: str
    phase: Phase
    detection: float
    """Until the control plane has detected it."""
    propagation: float
    """From there until the last edge has the snapshot."""
    answer: float
    """From there until the last wrong answer of any edge."""
    first_right: float
    """Until the first right answer of any edge."""
    last_wrong: float
    """Until the last wrong answer of any edge."""


class Bench:
    """Runs trials in a running deployment."""

    def __init__(self, field: Field, poller: Poller, rng: random.Random) -> None:
        self._field, self._poller, self._rng = field, poller, rng
        self._fell_at = dict.fromkeys(field.regions, 0.0)

    def trial(self, name: str) -> Iterator[Trial]:
        """Breaks and repairs one relay; returns one trial for each."""
        cause = CAUSES[name]
        falls = cause.known in ("verdict", "crashed")
        region = self._rested() if falls else self._rng.choice(self._field.regions)
        self._poller.watch([region])
        self._await(region, time.time(), lambda answer: answer == self._field.relays[region])
        phases: tuple[tuple[Phase, Callable[[Field, str], float]], ...] = (
            ("failure", cause.break_),
            ("recovery", cause.mend),
        )
        for phase, change in phases:
            time.sleep(self._rng.uniform(0.0, 1.0))
            self._poller.watch([region])
            yield self._measured(name, region, phase, change)
        if falls:
            self._fell_at[region] = time.time()

    def _rested(self) -> str:
        region = min(self._fell_at, key=lambda each: (self._fell_at[each], self._rng.random()))
        time.sleep(max(0.0, self._fell_at[region] + REST_S - time.time()))
        if self._fell_at[region] == 0.0:
            self._fell_at[region] = time.time() - REST_S
        return region

    def _measured(
        self, name: str, region: str, phase: Phase, change: Callable[[Field, str], float]
    ) -> Trial:
        cause, relay = CAUSES[name], self._field.relays[region]
        right = (lambda a: a not in (relay, "")) if phase == "failure" else (lambda a: a == relay)
        started = change(self._field, region)
        known = time.time() if cause.known == "plan" else 0.0
        if cause.known in ("crashed", "draining"):
            known = self._report_known(region, cause.known, phase == "failure")
        heard = self._await(region, started, right)
        if cause.known == "verdict":
            since = self._field.status()["relays"][f"{region}-1"]["since"]
            known = datetime.fromisoformat(since).timestamp()
        kind = "plan" if cause.known == "plan" else "status"
        told = max(self._told(edge, kind, known) for edge in self._field.edges)
        wrong = [each.at for each in heard if not right(each.address)]
        first_right = min(each.at for each in heard if right(each.address))
        last_wrong = max(wrong, default=started)
        return Trial(
            name,
            phase,
            detection=known - started,
            propagation=told - known,
            answer=max(0.0, last_wrong - told),
            first_right=first_right - started,
            last_wrong=last_wrong - started,
        )

    def _await(self, region: str, since: float, right: Callable[[str], bool]) -> list[Heard]:
        """All answers since `since`, once every edge has been right for a while."""
        end = time.time() + GIVE_UP_S
        while time.time() < end:
            time.sleep(0.05)
            heard = [each for each in list(self._poller.heard) if each.asked_at >= since]
            recent = time.time() - SETTLED_S
            of_edge = {
                edge: [right(h.address) for h in heard if h.edge == edge and h.at >= recent]
                for edge in self._field.edges
            }
            settled = all(len(told) > SETTLED_ANSWERS and all(told) for told in of_edge.values())
            if settled and heard[0].at < recent:
                return heard
        status = self._field.status()
        raise RuntimeError(f"{region}: not settled within {GIVE_UP_S:.0f} s: {status}")

    def _report_known(self, region: str, word: str, said: bool) -> float:
        end = time.time() + GIVE_UP_S
        while time.time() < end:
            status = self._field.status()
            if status["relays"][f"{region}-1"][word] == said:
                return datetime.fromisoformat(status["created_at"]).timestamp()
            time.sleep(0.02)
        raise RuntimeError(f"{region}: the notice never came")

    def _told(self, edge: str, kind: str, known: float) -> float:
        # All times are of one clock, but the admin's response may come after the snapshots.
        lines = self._field.programs[edge].said("snapshot.accepted", known - 0.5)
        at = [float(line["at"]) for line in lines if line["kind"] == kind]
        return max(known, next((each for each in at if each >= known), at[-1] if at else known))


def rank(values: Sequence[float], share: float) -> float:
    """The quantile: the smallest value that at least this share does not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


COLUMNS = ("detection", "propagation", "answer", "first_right", "last_wrong")
BUDGETS_S = {"crash": 1.0, "kill": 6.0, "hole": 6.0, "drain": 1.0, "patch": 1.0}


def report(trials: Sequence[Trial]) -> bool:
    """Prints the tables; returns whether all budgets (p99) were met."""
    met = True
    phases: tuple[Phase, ...] = ("failure", "recovery")
    for phase in phases:
        print(f"\n{phase.capitalize()}, seconds: p50 / p90 / p99 / max\n")
        print("| cause | trials | detection | propagation | answer | first right | last wrong |")
        print("|---|---|---|---|---|---|---|")
        for name, cause in CAUSES.items():
            chosen = [each for each in trials if (each.cause, each.phase) == (name, phase)]
            if not chosen:
                continue
            cells = [_cell([getattr(each, column) for each in chosen]) for column in COLUMNS]
            print(f"| {cause.title} | {len(chosen)} | {' | '.join(cells)} |")
            if phase == "failure":
                met &= rank([each.last_wrong for each in chosen], 0.99) <= BUDGETS_S[name]
    print(f"\nbudgets (last wrong, p99, of failures): {BUDGETS_S}: {'met' if met else 'MISSED'}")
    return met


def _cell(values: Sequence[float]) -> str:
    return " / ".join(f"{rank(values, share):.2f}" for share in (0.5, 0.9, 0.99, 1.0))


def main() -> int:
    """Runs the trials; 1 if a budget was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--causes", default=",".join(CAUSES))
    given = parser.parse_args()
    if reason := why_not():
        print(f"failover: {reason}", file=sys.stderr)
        return 1
    print(f"seed {given.seed}", flush=True)
    rng = random.Random(given.seed)
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory(prefix="fh-") as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as another user
        with Field(Path(folder)) as field:
            poller = Poller(field.clients, field.edges, SERVICE, CLIENTS, every_s=POLL_S)
            poller.start()
            bench = Bench(field, poller, rng)
            for number, name in zip(range(given.trials), _order(given.causes, rng), strict=False):
                for trial in bench.trial(name):
                    trials.append(trial)
                    figures = (f"{each} {getattr(trial, each):.2f}" for each in COLUMNS)
                    title = f"{number + 1}/{given.trials} {name} {trial.phase}"
                    print(f"{title}: {', '.join(figures)}", file=sys.stderr, flush=True)
            poller.end()
    return 0 if report(trials) else 1


def _order(causes: str, rng: random.Random) -> Iterator[str]:
    """Every cause equally often, in random order."""
    names = causes.split(",")
    for _ in itertools.count():
        yield from rng.sample(names, len(names))


if __name__ == "__main__":
    sys.exit(main())
