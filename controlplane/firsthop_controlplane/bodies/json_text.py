"""Strict parsing of JSON: refuses what two parsers could understand differently.

UTF-8, one object, no repeated key, no NaN, integers that every JSON reader holds exactly (RFC 7493
§2.2), no NUL and no lone surrogate in strings (PostgreSQL holds neither).
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from firsthop_controlplane.errors import Refused, malformed

EXACT_INTEGER = 2**53 - 1
MAX_VALUES = 50_000
"""Largest number of commas in a body that is parsed in the serving process."""
MAX_CONTAINERS = 20_000
"""The same for opening brackets and braces."""
MAX_KEYS = 100
"""Largest number of keys of one object."""
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")


def _refuse_constant(name: str) -> NoReturn:
    raise malformed(f"The body is not JSON: {name} is not a JSON number.")


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > EXACT_INTEGER:
        raise malformed("An integer beyond ±(2^53 − 1) is not exact in every reader (RFC 7493).")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise malformed("A number in the body exceeds the range of a double.")
    return value + 0.0  # −0.0 becomes 0.0: JSONB does not keep the sign, digests would differ


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_KEYS:
        raise malformed(f"An object has {len(pairs):,} keys; at most {MAX_KEYS} are allowed.")
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise malformed(f"The key {twice[:100]!r} occurs twice.")
    for key, value in pairs:
        check_text(key)
        _check_texts(value)
    return found


def _check_texts(value: Any) -> None:
    """Checks a string, or the strings of a list; objects within were checked when they ended."""
    if isinstance(value, str):
        check_text(value)
    elif isinstance(value, list):
        for each in value:
            _check_texts(each)


def check_text(text: str) -> None:
    """Raises Refused (400) if UTF-8 or PostgreSQL cannot represent the text."""
    if _NOT_TEXT.search(text):
        raise malformed("A string contains a NUL or a lone surrogate.")


def check_size(raw: bytes) -> None:
    """Raises Refused (413) for JSON that could take more than some 50 ms to parse.

    The counts include those inside strings, so they are upper bounds.
    """
    values, containers = raw.count(b","), raw.count(b"{") + raw.count(b"[")
    for found, most, noun in (
        (values, MAX_VALUES, "commas"),
        (containers, MAX_CONTAINERS, "objects and arrays"),
    ):
        if found > most:
            detail = f"The body holds {found:,} {noun}; at most {most:,} are allowed here."
            raise Refused(413, "too-large", detail)


def parse(raw: bytes) -> Any:
    """The JSON value in `raw`. Raises Refused (400) if there is none."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise malformed(f"The body is not UTF-8, from byte {error.start} on.") from None
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_number,
        )
    except RecursionError:
        raise malformed("The body is nested too deeply.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise malformed(f"The body is not JSON: {error.msg} at {where}.") from None


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`. Raises Refused (400) if there is none."""
    value = parse(raw)
    if not isinstance(value, dict):
        raise malformed("The body must be a JSON object.")
    return value
