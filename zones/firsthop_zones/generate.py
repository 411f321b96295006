r"""Expands the words of a `$GENERATE` directive, BIND's shorthand for many records of one pattern.

`$` stands for the number, `${offset,width,base}` for the sum in a base (d, o, x, X; n and N: hex
digits in reverse order, each a label) with at least `width` characters. `\$` and `$$` are a `$`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

MAX_GENERATED = 65_536
"""Maximum number of records that the directives of one zone make together: as many as a /16 has."""
MAX_WIDTH = 255
_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})(?:/([0-9]{1,9}))?")
_NUMBER = re.compile(r"\\.|\$\$|\$(?:\{([^{}]*)\})?", re.DOTALL)
_MODIFIER = re.compile(r"(-?[0-9]{1,9})(?:,([0-9]{1,3})(?:,([doxXnN]))?)?")


def generated(words: Sequence[str], left: int) -> Iterator[list[str]]:
    """The words of each record; at most `left` records. Raises ValueError with the broken rule."""
    if len(words) < 4:
        raise ValueError("$GENERATE needs a range, an owner, a type and data")
    match = _RANGE.fullmatch(words[0])
    first, last, step = (int(each or 1) for each in match.groups()) if match else (1, 0, 1)
    if first > last or not step:
        raise ValueError("the range of $GENERATE must be first-last or first-last/step")
    numbers = range(first, last + 1, step)
    if len(numbers) > left:
        rule = f"$GENERATE makes at most {MAX_GENERATED:,} records in a zone"
        raise ValueError(rule)
    for number in numbers:
        yield [_NUMBER.sub(lambda found: _substitute(found, number), word) for word in words[1:]]  # noqa: B023


def _substitute(found: re.Match[str], number: int) -> str:
    if found[0].startswith("\\"):
        return found[0]
    if found[0] == "$$":
        return r"\$"
    modifier = _MODIFIER.fullmatch("0" if found[1] is None else found[1])
    if modifier is None:
        raise ValueError("a modifier of $GENERATE must be ${offset,width,base}, base d o x X n N")
    value, width = number + int(modifier[1]), int(modifier[2] or 0)
    if value < 0 or width > MAX_WIDTH:
        raise ValueError(f"a number of $GENERATE is at least 0, its width at most {MAX_WIDTH}")
    base = modifier[3] or "d"
    return _nibbles(value, width, base) if base in "nN" else f"{value:0{width}{base}}"


def _nibbles(value: int, width: int, base: str) -> str:
    """Hex digits, the lowest first, each a label; `width` counts the dots too."""
    digits = f"{value:0{(width + 1) // 2}{'x' if base == 'n' else 'X'}}"
    return ".".join(reversed(digits))
