"""CPU per DNS query of Firsthop, gdnsd, Knot and PowerDNS with the same country map.

    python bench/dns.py [--quick] [--rounds 5] [--queries 200000] [--servers gdnsd,firsthop]

See bench/README.md for what is measured, and docs/performance.md for figures.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, see below)

from __future__ import annotations

import argparse
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

# With this folder on sys.path `import dns` would find this file instead of dnspython.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.load import Load, Tally
from bench.peers import PEERS, REFERENCE
from bench.peers.case import BUNDLED, REGIONS, SERVICE, Case, build_case, unpack
from bench.peers.process import AbsentError, Server, StartError, cpu_between, pin

START_TIMEOUT_S = 60.0
READY_SILENCE_S = 0.05
SCOPE_SAMPLE = 500
BUDGETS = {"gdnsd": 3.5, "powerdns": 1.0}
"""Budget: CPU per query relative to these servers must not exceed this."""


@dataclass
class Result:
    """The results of one server over all rounds."""

    server: Server
    cpu_us: list[float] = field(default_factory=list)
    """CPU microseconds per query, one value per round."""
    rates: list[float] = field(default_factory=list)
    """Queries per second, one value per round."""
    tally: Tally = field(default_factory=Tally)
    scope: str = "-"

    @property
    def median(self) -> float:
        """Median CPU microseconds per query."""
        return statistics.median(self.cpu_us)

    def ratio_to(self, other: Result) -> float:
        """Median over the rounds of the ratio to the other server's figure in the same round.

        Both sides of a round run within seconds of each other, so a slow minute cancels out.
        """
        return statistics.median(a / b for a, b in zip(self.cpu_us, other.cpu_us, strict=True))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="CPU per DNS query of geo-steering servers, side by side."
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--queries", type=int, default=200_000, help="a server and round")
    parser.add_argument("--clients", type=int, default=50_000, help="distinct ECS /24s, <= 65536")
    parser.add_argument("--window", type=int, default=128, help="queries outstanding")
    parser.add_argument(
        "--servers", default=",".join(PEERS), help="comma-separated, of: " + ", ".join(PEERS)
    )
    parser.add_argument("--database", type=Path, default=BUNDLED, help=".mmdb or .mmdb.xz")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 50,000: a smoke test")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.rounds, chosen.queries = 2, 50_000
    chosen.servers = [name for name in chosen.servers.split(",") if name]
    unknown = set(chosen.servers) - set(PEERS)
    if unknown or min(chosen.rounds, chosen.queries, chosen.clients, chosen.window) < 1:
        parser.error(f"unknown servers: {', '.join(sorted(unknown))}" if unknown else "must be > 0")
    return chosen


def wait_until_ready(server: Server, load: Load) -> None:
    """Repeats the first query until its answer is right. Raises StartError."""
    deadline = time.monotonic() + START_TIMEOUT_S
    with load.connect(server.port) as sock:
        sock.settimeout(READY_SILENCE_S)
        while time.monotonic() < deadline:
            server.cpu()  # raises when it has ended
            try:
                sock.send(load.query(0))
                if load.right(sock.recv(4096), 0) or not server.answers:
                    break
            except OSError:  # refused while the port is closed, silence while it loads
                pass
            time.sleep(READY_SILENCE_S)
        else:
            raise StartError(
                f"{server.name} gave no right answer in {START_TIMEOUT_S:.0f} s:\n{server.tail()}"
            )


def start_all(
    names: list[str], case: Case, load: Load, stack: ExitStack, cpu: int | None
) -> list[Result]:
    """Starts every installed server and names the others."""
    results = []
    for name in names:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"bench-{name}-")))
        try:
            server = PEERS[name](case, folder, cpu)
        except AbsentError as reason:
            print(f"skipped {name}: {reason}")
            continue
        stack.callback(server.stop)
        started = time.monotonic()
        wait_until_ready(server, load)
        result = Result(server)
        print(f"started {name} {server.version} in {time.monotonic() - started:.1f} s", flush=True)
        if server.answers:
            read_scopes(result, load)
        results.append(result)
    return results


def read_scopes(result: Result, load: Load) -> None:
    """The mean scope of its answers, and whether it echoes ECS at all."""
    with load.connect(result.server.port) as sock:
        scopes, unechoed = load.scopes(sock, SCOPE_SAMPLE)
    if scopes:
        result.scope = f"/{statistics.fmean(scopes.elements()):.1f}"
    if unechoed:
        print(f"  {result.server.name}: {unechoed} of {SCOPE_SAMPLE} answers without their ECS")


def measure(result: Result, load: Load, queries: int) -> None:
    """One round of one server."""
    tally = Tally()
    with load.connect(result.server.port) as sock:
        before = result.server.cpu()
        while tally.answered < queries:
            lap = load.lap(sock, queries - tally.answered, check=result.server.answers)
            tally.add(lap)
            if not lap.answered:
                raise StartError(f"{result.server.name} is silent:\n{result.server.tail()}")
        used = cpu_between(before, result.server.cpu())
    result.cpu_us.append(used / tally.answered * 1e6)
    result.rates.append(tally.answered / tally.seconds)
    result.tally.add(tally)


def report(results: list[Result]) -> None:
    """Prints the table, and checks the budget if both servers ran."""
    reference = next((each for each in results if each.server.name == REFERENCE), None)
    columns = "{:<10} {:>9} {:>8} {:>15} {:>9} {:>10} {:>6} {:>5} {:>6}"
    print()
    heads = ("server", "CPU us/q", "x " + REFERENCE, "min - max", "q/s", "answers")
    print(columns.format(*heads, "wrong", "lost", "scope"))
    for each in sorted(results, key=lambda result: result.median):
        ratio = f"{each.ratio_to(reference):.2f}" if reference else "-"
        print(
            columns.format(
                each.server.name,
                f"{each.median:.2f}",
                ratio,
                f"{min(each.cpu_us):.2f} - {max(each.cpu_us):.2f}",
                f"{statistics.median(each.rates):,.0f}",
                f"{each.tally.answered:,}",
                each.tally.wrong if each.server.answers else "-",
                each.tally.lost,
                each.scope,
            )
        )
    print()
    by_name = {each.server.name: each for each in results}
    ours = by_name.get("firsthop")
    for other, budget in BUDGETS.items():
        if ours and other in by_name:
            measured = ours.ratio_to(by_name[other])
            verdict = "met" if measured <= budget else "MISSED"
            print(f"budget: firsthop at most {budget:g} x {other}: {measured:.2f}, {verdict}")
    print("versions: " + ", ".join(f"{each.server.name} {each.server.version}" for each in results))
    for each in results:
        for example in each.tally.examples:
            print(f"wrong, {each.server.name}: {example}")


def processors() -> tuple[int | None, int | None]:
    """One CPU for the servers and another for the load; None if there is only one."""
    cpus = sorted(os.sched_getaffinity(0))
    return (cpus[0], cpus[1]) if len(cpus) > 1 else (None, None)


def model_name() -> str:
    """The processor's name in /proc/cpuinfo."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    found = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(found, platform.machine())


def main() -> int:
    """Runs the benchmark; 0 if every query got the right answer."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped
    began = time.monotonic()
    server_cpu, load_cpu = processors()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-case-")))
        case = build_case(unpack(options.database, folder), clients=options.clients)
        load = Load(
            SERVICE,
            case.networks,
            [region.address.packed for region in case.expected],
            window=options.window,
            spin=load_cpu is not None,
        )
        shares = case.clients_by_region
        print(f"{model_name()}, {os.cpu_count()} CPUs, Linux {platform.release()}")
        print(f"servers on CPU {server_cpu}, load on CPU {load_cpu}, {load.window} outstanding")
        print(
            f"{load.count:,} ECS /24s of {len(case.clients_by_country)} countries: "
            + ", ".join(f"{each.id} {shares[each.id]:,}" for each in REGIONS),
            flush=True,
        )
        try:
            results = start_all(options.servers, case, load, stack, server_cpu)
            if not results:
                print("no server to measure", file=sys.stderr)
                return 1
            pin(load_cpu)
            for round_number in range(1, options.rounds + 1):
                for each in results:
                    measure(each, load, options.queries)
                line = ", ".join(f"{each.server.name} {each.cpu_us[-1]:.2f}" for each in results)
                print(f"round {round_number}: {line}", flush=True)
        except StartError as failure:
            print(failure, file=sys.stderr)
            return 1
        report(results)
    print(f"took {time.monotonic() - began:.0f} s")
    return 1 if any(each.tally.wrong for each in results) else 0


if __name__ == "__main__":
    sys.exit(main())
