"""Everything that a leader has learned in its term: received samples, ledger, region numbers.

No clock and no store: times are whole seconds; the caller loads and saves the parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from firsthop_controlplane.learning.intake import Drained, Intake
from firsthop_controlplane.learning.numbers import RegionNumbers
from firsthop_controlplane.learning.parts import Part, pack, unpack
from firsthop_steering.arrays import Mask
from firsthop_steering.decision.placement import Ground
from firsthop_steering.rtt.learned import Learned
from firsthop_steering.rtt.ledger import LedgerRows
from firsthop_steering.rtt.model import RttModel, learn
from firsthop_steering.rtt.samples import PREFIX_LIMIT, REGION_BITS

ROWS_A_PART = 250_000
"""Size of a part (6 MB) when everything is written again."""
_SLACK_ROWS, _MAX_PARTS = 100_000, 500


@dataclass(slots=True)
class Memory:
    """One thread at a time observes and learns; `intake` belongs to the event loop."""

    intake: Intake = field(default_factory=Intake)
    model: RttModel = field(default_factory=RttModel)
    numbers: RegionNumbers = field(default_factory=RegionNumbers)
    parts: int = 0
    """The number of parts in the store."""
    logged: int = 0
    """Number of rows in these parts, including outdated ones."""
    saved_to: int = -1
    """The time of the newest saved rows; what is observed later gets a later time."""
    _now: int = 0
    _unsaved: dict[str, float] = field(default_factory=dict)
    _remembered: dict[str, float] = field(default_factory=dict)
    """Batches of the last half hour, which `whole` includes."""

    def restore(self, contents: Iterable[bytes]) -> None:
        """Read saved parts, oldest first; raises ValueError if one is damaged."""
        for content in contents:
            part, ledger = unpack(content), self.model.ledger
            if part.is_means:
                ledger.forget(np.isin(ledger.rows().keys, part.rows.keys))
            ledger.put(_of_prefixes(part.rows))
            self.numbers = RegionNumbers(part.regions)
            self._remembered |= part.batches
            self.parts += 1
            self.logged += len(part.rows)
            self._now = max(self._now, int(part.rows.at.max(initial=0)))
        self.intake.remember(self._remembered)
        self.saved_to = self._now

    def start_over(self) -> None:
        """Make the next save replace everything in the store, because it cannot be read."""
        self.parts = _MAX_PARTS + 1

    def observe(self, drained: Drained, *, now: float, kept_s: float) -> None:
        """Add samples to the ledger. Names of batches are kept for `kept_s`.

        If the clock was set back, the latest time is used, so that nothing becomes younger.
        """
        self._now = max(self._now, int(now), self.saved_to + 1)
        if self.numbers.freed:
            self.forget(np.isin(self.model.ledger.rows().regions, self.numbers.freed))
            self.numbers.freed.clear()
        if len(drained.samples):
            self.model.observe(drained.samples, now=self._now)
        self._unsaved |= drained.batches
        self._remembered |= drained.batches
        for name, at in list(self._remembered.items()):
            if now - at < kept_s:
                break
            del self._remembered[name]

    def forget(self, which: Mask) -> int:
        """Drop the reports of a mask of the ledger's rows; returns their number.

        The next save replaces all parts, since older ones have these reports.
        """
        dropped = self.model.ledger.forget(which)
        if dropped:
            self.start_over()
        return dropped

    @property
    def is_changed(self) -> bool:
        """Whether there is anything to save."""
        return bool(self._unsaved) or self.parts > _MAX_PARTS

    def is_long(self) -> bool:
        """Whether so many rows are outdated that everything should be written again."""
        return self.parts > _MAX_PARTS or self.logged > 2 * len(self.model.ledger) + _SLACK_ROWS

    def changes(self) -> tuple[bytes, int]:
        """The changes since the last save as a packed part, and its number of rows."""
        rows = self.model.ledger.rows(since=self.saved_to + 1)
        part = Part(rows, self.numbers.names, self._unsaved)
        return pack(part), len(rows)

    def whole(self) -> Iterator[tuple[bytes, int]]:
        """Everything as packed parts, each with its number of rows."""
        rows = self.model.ledger.rows()
        for first in range(0, max(len(rows), 1), ROWS_A_PART):
            some = rows.take(slice(first, first + ROWS_A_PART))
            batches = {} if first else self._remembered
            yield pack(Part(some, self.numbers.names, batches)), len(some)

    def saved(self, sizes: Iterable[int], *, anew: bool) -> None:
        """Note that parts of these sizes were written; `anew`: they replaced all previous ones."""
        sizes = list(sizes)
        self.parts = len(sizes) + (0 if anew else self.parts)
        self.logged = sum(sizes) + (0 if anew else self.logged)
        self.saved_to, self._unsaved = self._now, {}

    def learn(self, ground: Ground) -> Learned:
        """Learn from all samples of the plan's regions."""
        rows = self.model.ledger.alive(now=self._now)
        places = self.numbers.indices(ground.regions)
        regions = places[rows.regions] if len(places) else rows.regions
        here = regions >= 0
        moved = rows.take(here).moved(regions[here])
        return learn(moved, ground.terrain, ground.locate, now=self._now)


def _of_prefixes(rows: LedgerRows) -> LedgerRows:
    """Only rows whose number is a prefix's: earlier versions stored measured hosts as well."""
    return rows.take(rows.keys < np.uint64(PREFIX_LIMIT << REGION_BITS))
