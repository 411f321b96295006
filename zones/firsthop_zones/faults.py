"""Faults of a document, and the error that contains all of them."""

from __future__ import annotations

from dataclasses import dataclass

from firsthop_zones.visible import visible

MAX_FAULTS = 20
"""Faults that one refusal lists at most; further ones are mostly repetitions."""


@dataclass(frozen=True, slots=True)
class DocumentFault:
    """One fault: the field's path (`relays/fra-1/region`), the broken rule, and the text line."""

    field: str
    rule: str
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{visible(self.field)}: {visible(self.rule)}"


class DocumentError(ValueError):
    """A document is refused as a whole; `problems` has all faults that are reported."""

    def __init__(self, problems: list[DocumentFault]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems
