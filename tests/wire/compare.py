"""Who passes what: the wire tests put to Knot, NSD, BIND, gdnsd and ourselves, as a Markdown table.

    python tests/wire/compare.py [--servers Knot,NSD,BIND,gdnsd,Firsthop] [--all] > table.md

Servers that are not installed are left out. A row is a test function over all its parameters, UDP
and TCP; without --all only rows in which somebody does not pass are shown (legend: README.md).
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, as in bench/dns.py)

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from xml.etree import ElementTree

TESTS = Path(__file__).resolve().parents[1]
sys.path[0] = str(TESTS)
sys.path.insert(1, str(TESTS.parent))

import dns.exception
import dns.message
import dns.query
from bench.peers.process import AbsentError, StartError

from wire.servers import SERVERS

OURS = "Firsthop"
START_TIMEOUT_S = 20.0
PASSED, FAILED, OTHERWISE, SKIPPED = "✓", "✗", "≠", "–"
Cell = Counter[str]
"""How often a test function passed, failed, was decided otherwise, or was not asked."""
Column = dict[tuple[str, str], Cell]
"""By file and function."""


def wait_until_ready(port: int) -> None:
    """Ask until there is an answer; raises StartError."""
    asked = dns.message.make_query("example.test", "SOA")
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            if dns.query.udp(asked, "127.0.0.1", port=port, timeout=0.2).answer:
                return
        except (OSError, dns.exception.DNSException):
            time.sleep(0.05)
    raise StartError("it gave no SOA")


def run(port: int | None, lacks: frozenset[str]) -> Column:
    """The suite against a port of 127.0.0.1, or against ourselves."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FIRSTHOP_WIRE_")}
    environment["FIRSTHOP_WIRE_TRANSPORTS"] = "all"  # as a foreign server is always asked
    if port is not None:
        environment["FIRSTHOP_WIRE_TARGET"] = f"127.0.0.1:{port}"
        environment["FIRSTHOP_WIRE_LACKS"] = " ".join(sorted(lacks))
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist"]
        pytest += ["--continue-on-collection-errors"]
        subprocess.run(
            [*pytest, f"--junitxml={report.name}", str(TESTS / "wire")],
            env=environment,
            cwd=TESTS.parent,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        return read(Path(report.name))


def read(report: Path) -> Column:
    """A JUnit report as a column."""
    column: Column = {}
    for case in ElementTree.parse(report).iter("testcase"):
        file = case.get("classname", "").rpartition(".")[2].removeprefix("test_")
        function = case.get("name", "").partition("[")[0].removeprefix("test_")
        skipped = case.find("skipped")
        outcome = PASSED
        if case.find("failure") is not None or case.find("error") is not None:
            outcome = FAILED
        elif skipped is not None:
            outcome = OTHERWISE if skipped.get("type") == "pytest.xfail" else SKIPPED
        column.setdefault((file, function), Counter())[outcome] += 1
    return column


def shown(cell: Cell | None) -> str:
    """One cell of the table."""
    if cell is None:
        return SKIPPED
    for outcome in (FAILED, OTHERWISE):
        if cell[outcome]:
            asked = cell.total() - cell[SKIPPED]
            return outcome if cell[outcome] == asked else f"{outcome} {cell[outcome]} of {asked}"
    return PASSED if cell[PASSED] else SKIPPED


def table(columns: dict[str, Column], *, everything: bool) -> str:
    """The Markdown table and its last row, the totals of test functions."""
    heads = list(columns)
    keys = sorted({key for column in columns.values() for key in column})
    lines = [f"| RFC | test | {' | '.join(heads)} |", f"|---|---|{'---|' * len(heads)}"]
    totals: dict[str, Cell] = {head: Counter() for head in heads}
    for key in keys:
        cells = [shown(columns[head].get(key)) for head in heads]
        for head, cell in zip(heads, cells, strict=True):
            totals[head][cell[0]] += 1
        if everything or any(cell[0] in (FAILED, OTHERWISE) for cell in cells):
            name = key[1].replace("_", " ")
            lines.append(f"| {key[0].removeprefix('rfc')} | {name} | {' | '.join(cells)} |")
    for outcome, label in (
        (PASSED, "pass"),
        (FAILED, "fail"),
        (OTHERWISE, "decide otherwise"),
        (SKIPPED, "not asked"),
    ):
        counts = " | ".join(str(totals[head][outcome]) for head in heads)
        lines.append(f"| | **tests that {label}** | {counts} |".replace("tests that not", "not"))
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="The wire tests put to reference servers.")
    parser.add_argument("--servers", default=",".join([OURS, *SERVERS]))
    parser.add_argument("--all", action="store_true", help="show tests that everybody passes too")
    chosen = parser.parse_args()
    columns: dict[str, Column] = {}
    for name in chosen.servers.split(","):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wire-")))
            folder.chmod(0o755)
            if name == OURS:
                columns[name] = run(None, frozenset())
                continue
            try:
                server, lacks = SERVERS[name](folder)
            except AbsentError as reason:
                print(f"left out {name}: {reason}", file=sys.stderr)
                continue
            stack.callback(server.stop)
            wait_until_ready(server.port)
            columns[f"{name} {server.version}"] = run(server.port, lacks)
            server.cpu()  # raises when it has ended by itself
    print(table(columns, everything=chosen.all))


if __name__ == "__main__":
    main()
