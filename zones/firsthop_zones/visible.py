"""Control characters in text that others chose, where it is entered and where it is printed.

Printed as it is, such text can move a terminal's cursor, hide what follows, or add a line that
looks like one of ours.
"""

from __future__ import annotations

import re

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""C0 and C1 controls, line and paragraph separators, and what reorders text (Unicode UAX #9)."""
_NOT_IN_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""The text on one line, with control characters as escapes (`\n`, `\x1b`)."""
    return CONTROL.sub(_escaped, text)


def visible_lines(text: str) -> str:
    r"""Like `visible`, but line feeds and tabs stay."""
    return _NOT_IN_TEXT.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
