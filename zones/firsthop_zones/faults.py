"""What is wrong with a document: one fault, and all of them together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DocumentFault:
    """One fault: the field's path (`relays/fra-1/region`), the rule, and the line of the text."""

    field: str
    rule: str
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.field}: {self.rule}"


class DocumentError(ValueError):
    """A document that is refused whole; `problems` says why, one a fault."""

    def __init__(self, problems: list[DocumentFault]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems
