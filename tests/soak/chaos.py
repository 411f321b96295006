"""Makes the faults of a schedule happen in a field, and notes what happened when."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

from field.programs import Database, Program
from field.world import CONTROLPLANES, Field
from soak.schedule import Fault
from soak.truth import Span

TICK_S = 0.05


def targets(field: Field) -> list[str]:
    """Everything in a field that can fail."""
    return [field.database.name, *field.programs]


class Chaos:
    """One run of a schedule; from the main thread, which the processes die with."""

    def __init__(self, field: Field) -> None:
        self._field = field
        self.spans: list[Span] = []

    def run(self, faults: Sequence[Fault]) -> None:
        """Returns when the last fault is undone. What dies by itself is started again."""
        start = time.time()
        due, begun = list(faults), dict[Fault, float]()
        while due or begun:
            now = time.time() - start
            for fault in [each for each in begun if each.end <= now]:
                self._undo(fault)
                self.spans.append(Span(fault.target, fault.kind, begun.pop(fault), time.time()))
            while due and due[0].at <= now:
                fault = due.pop(0)
                begun[fault] = time.time()
                self._do(fault)
            down = [each.target for each in begun if each.kind == "kill"]
            self._field.tend(besides=down)
            time.sleep(TICK_S)

    def _target(self, name: str) -> Program | Database:
        database = self._field.database
        return database if name == database.name else self._field.programs[name]

    def _do(self, fault: Fault) -> None:
        target = self._target(fault.target)
        if fault.kind == "kill":
            target.kill()
        elif fault.kind == "stop":
            target.send(signal.SIGSTOP)
        elif fault.kind == "cut":
            target.place.cut()
        elif fault.kind == "lose":
            target.place.drop()
        elif fault.kind == "deaf":
            programs = self._field.programs
            target.place.drop(*(programs[each].place.address for each in CONTROLPLANES))
        elif isinstance(target, Program) and (worker := target.child("edge-worker", "dns")):
            worker.kill()

    def _undo(self, fault: Fault) -> None:
        target = self._target(fault.target)
        if fault.kind == "kill":
            target.start()
        elif fault.kind == "stop":
            target.send(signal.SIGCONT)
        elif fault.kind in ("cut", "lose", "deaf"):
            target.place.mend()
