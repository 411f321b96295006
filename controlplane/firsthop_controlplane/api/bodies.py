"""Strict parsing of JSON bodies: refuses what two parsers could understand differently.

A body must be one object in UTF-8, without repeated keys or NaN. Its integers must be exact in
every JSON reader (RFC 7493 §2.2). Strings must have no NUL and no lone surrogate, as PostgreSQL
can store neither.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, NoReturn, TypeVar

from aiohttp import web
from aiohttp.client_exceptions import ClientError
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel, ValidationError

from firsthop_controlplane.api.problems import faults
from firsthop_controlplane.errors import Refused, invalid, malformed

EXACT_INTEGER = 2**53 - 1
BODY_TIMEOUT_S = 30
"""Limits how long a body that arrives slowly can occupy a handler."""
MEDIA_TYPES = ("application/json", "application/merge-patch+json")
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")

M = TypeVar("M", bound=BaseModel)


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
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise malformed(f"The key {key!r} occurs twice.")
        found[key] = value
    for text in (*found, *(value for value in found.values() if isinstance(value, str))):
        check_text(text)
    for values in found.values():
        if isinstance(values, list):
            _texts(values)
    return found


def _texts(values: list[Any]) -> None:
    for value in values:
        if isinstance(value, str):
            check_text(value)
        elif isinstance(value, list):
            _texts(value)


def check_text(text: str) -> None:
    """Raises Refused (400) if UTF-8 or PostgreSQL cannot represent the text."""
    if _NOT_TEXT.search(text):
        raise malformed("A string contains a NUL or a lone surrogate.")


def parse(raw: bytes) -> Any:
    """The JSON value in `raw`; raises Refused (400) if there is none."""
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
    """The JSON object in `raw`."""
    value = parse(raw)
    if not isinstance(value, dict):
        raise malformed("The body must be a JSON object.")
    return value


async def json_object(request: web.Request, limit: int) -> dict[str, Any]:
    """The object in a request's body, of at most `limit` bytes."""
    if request.content_type not in MEDIA_TYPES:
        raise Refused(415, "unsupported-media-type", "Send application/json.")
    if (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise Refused(415, "unsupported-media-type", "Send UTF-8.")
    return parse_object(await raw_body(request, limit))


async def raw_body(request: web.Request, limit: int) -> bytes:
    """A request's body, of at most `limit` bytes."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > limit:
                    detail = f"The body of this request may have at most {limit} bytes."
                    raise Refused(413, "too-large", detail)
    except TimeoutError:
        detail = f"The body did not arrive within {BODY_TIMEOUT_S} s."
        raise Refused(408, "too-slow", detail) from None
    except (web.RequestPayloadError, ClientError, HttpProcessingError, ValueError) as error:
        raise malformed(f"The body cannot be read: {type(error).__name__}.") from None
    return bytes(body)


def validated(model: type[M], value: dict[str, Any], prefix: str = "") -> M:
    """A JSON object as a model, without type coercion; raises Refused (422) with all faults."""
    try:
        return model.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise invalid(faults(error, prefix)) from None
