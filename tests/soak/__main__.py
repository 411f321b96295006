"""`make soak`: random faults for some minutes; exits with 1 when something did not hold."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from field.namespaces import why_not
from field.world import Field
from soak.run import Soaked, soak
from soak.truth import Asked

CONVERGE_S = 10.0


def main() -> int:
    """Run one soak and tell."""
    parser = argparse.ArgumentParser(prog="soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    given = parser.parse_args()
    if reason := why_not():
        print(f"soak: {reason}", file=sys.stderr)
        return 1
    print(f"seed {given.seed}: --seed {given.seed} --seconds {given.seconds:g}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="fh-soak-"))
    folder.chmod(0o755)  # PostgreSQL runs as somebody else
    print(f"logs in {folder}", flush=True)
    with Field(folder) as field:
        try:
            soaked = soak(field, given.seed, given.seconds, converge_within_s=CONVERGE_S)
        except AssertionError as error:
            print(f"NOT CONVERGED: {error}")
            return 1
    return _tell(soaked)


def _tell(soaked: Soaked) -> int:
    for span in soaked.spans:
        print(f"  {_clock(span.start)}–{_clock(span.end)} {span.kind} {span.target}")
    findings = soaked.findings
    for title, found in (("UNANSWERED", findings.unanswered), ("WRONG", findings.wrong)):
        for each in found[:20]:
            print(f"  {title} {_line(each)}")
    for name, words in soaked.broken.items():
        print(f"  BROKEN {name}: {words[:2000]}")
    print(
        f"{len(soaked.spans)} faults, {findings.asked} queries: {len(findings.unanswered)} not"
        f" answered, {len(findings.wrong)} wrong of {findings.judged} that could be;"
        f" converged {soaked.converged_s:.1f} s after the last fault"
    )
    return 1 if findings.unanswered or findings.wrong or soaked.broken else 0


def _line(asked: Asked) -> str:
    told = f"{asked.edge} said {asked.address}" if asked.edge else "nobody answered"
    return f"{_clock(asked.start)}–{_clock(asked.end)} client of {asked.client}: {told}"


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S.%f}"[:-4]


if __name__ == "__main__":
    sys.exit(main())
