"""Strict parsing of JSON bodies and queries: ambiguous ones are refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from firsthop_allocator.errors import RequestFault, unreadable, wrong

_Read = TypeVar("_Read", bound=BaseModel)


class _RepeatedKeyError(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Parsers differ on which of two equal keys counts (RFC 8259 §4), so such text is refused."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _RepeatedKeyError(Counter(key for key, _ in pairs).most_common(1)[0][0])
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant).decode


def read_body(raw: bytes, model: type[_Read]) -> _Read:
    """The body as `model`; an empty one is the empty object. Raises Problem 400 or 422."""
    try:
        value = _decode(raw.decode("utf-8")) if raw else {}
    except _RepeatedKeyError as error:
        raise wrong(400, RequestFault(str(error), "must not be given twice")) from None
    except (ValueError, RecursionError) as error:
        raise unreadable(f"the body is not JSON: {_brief(error)}") from None
    if not isinstance(value, dict):
        raise unreadable("the body must be a JSON object")
    return _validated(value, model)


def read_query(pairs: Iterable[tuple[str, str]], model: type[_Read]) -> _Read:
    """The query as `model`. Raises Problem 400 or 422."""
    try:
        value = _object(list(pairs))
    except _RepeatedKeyError as error:
        raise wrong(400, RequestFault(str(error), "must not be given twice")) from None
    return _validated(value, model)


def _validated(value: dict[str, Any], model: type[_Read]) -> _Read:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise wrong(422, *(_fault(each["loc"], each["msg"]) for each in faults[:10])) from None


def _fault(location: tuple[int | str, ...], message: str) -> RequestFault:
    rule = message.removeprefix("Value error, ")
    return RequestFault("/".join(map(str, location)), rule[:1].lower() + rule[1:])


def _brief(error: Exception) -> str:
    """The parser's message, without the text that it parsed."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"octet {error.start} is not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    return str(error)
