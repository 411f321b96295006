"""Faults of a document, and the error that contains all of them; rules in words of the thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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


def text_of(octets: bytes, source: str) -> str:
    """The text of a file in UTF-8, without a byte order mark.

    Raises DocumentError with the line and the column (in characters, from 1) of the first octet
    that is no UTF-8.
    """
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = octets[: error.start].decode("utf-8-sig")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        rule = f"column {column}: octet 0x{octets[error.start]:02X} is not UTF-8; convert the file"
        raise DocumentError([DocumentFault(source, rule, line)]) from None


def broken_rule(fault: Any) -> str:
    """The rule in one of pydantic's errors; limits of lists count what the field holds."""
    limits = fault.get("ctx", {})
    if fault["type"] in ("too_long", "too_short"):
        field = str(fault["loc"][-1]) if fault["loc"] else ""
        return count_rule(
            field, limits["actual_length"], limits.get("max_length"), limits.get("min_length")
        )
    message: str = fault["msg"]
    return message.removeprefix("Value error, ")


def count_rule(field: str, given: int, most: int | None, least: int | None = None) -> str:
    """The rule that a list breaks which has too many or too few items."""
    things = field.replace("_", " ") if field.endswith("s") else "items"
    if most is not None and given > most:
        return f"has {given:,} {things}; at most {most:,} are allowed"
    return f"has {given:,} {things}; at least {least} must be given"
