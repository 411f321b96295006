"""Turns every error into a problem document (RFC 9457)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from firsthop_controlplane.errors import BrokenRule, NoLeader, Refused, TooMany, Unavailable
from firsthop_controlplane.store.engine import bad_value, failure, unavailable
from firsthop_steering.feed.reason_phrases import reason_phrase

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:firsthop:problem:"
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
_OFFERED_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "examples": [TYPE_PREFIX + "invalid"]},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "rule"],
                "properties": {"field": {"type": "string"}, "rule": {"type": "string"}},
            },
        },
    },
}


def problem(
    refused: Refused, request: web.Request, headers: Mapping[str, str] | None = None
) -> web.Response:
    """The problem document of a refusal."""
    document: dict[str, Any] = {
        "type": TYPE_PREFIX + refused.kind,
        "title": reason_phrase(refused.status),
        "status": refused.status,
        "detail": refused.detail,
        "request_id": request.get(REQUEST_ID, ""),
    }
    if refused.errors:
        document["errors"] = [{"field": f.field, "rule": f.rule} for f in refused.errors]
    response = web.json_response(document, status=refused.status, content_type=MEDIA_TYPE)
    response.headers.update(headers or {})
    return response


def _of_http(error: web.HTTPException) -> tuple[Refused, dict[str, str]]:
    """The refusal, and headers, for an error of aiohttp: unknown path, wrong method, large body."""
    phrase = reason_phrase(error.status)
    kind = phrase.lower().replace(" ", "-")
    kept = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
    detail = {
        404: "There is nothing at this path; /openapi.json lists all paths.",
        405: f"Methods allowed at this path: {error.headers.get('Allow', 'others')}.",
    }.get(error.status, error.text or phrase)
    return Refused(error.status, kind, detail), kept


def _refusal(error: Exception, request: web.Request) -> tuple[Refused, dict[str, str]]:
    if isinstance(error, TooMany):
        return error, {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, Refused):
        headers = {"WWW-Authenticate": 'Bearer realm="firsthop"'} if error.status == 401 else {}
        return error, headers
    if isinstance(error, web.HTTPException):
        return _of_http(error)
    if bad_value(error):
        log.warning("api.value_refused", path=request.path, error=failure(error))
        rule = "the database cannot store one of its values"
        return Refused(422, "invalid", rule, [BrokenRule("body", rule)]), {}
    if isinstance(error, NoLeader):
        log.warning("api.no_leader", path=request.path, error=str(error))
        detail = "The leading control plane cannot be reached now. Retry here or at another one."
        return Refused(503, "no-leader", detail), {"Retry-After": "1"}
    if isinstance(error, Unavailable):
        log.warning("api.unavailable", path=request.path, error=str(error))
        reason = str(error)
        detail = f"{reason[:1].upper()}{reason[1:]}. Edges keep answering from their snapshots."
        return Refused(503, "unavailable", detail), {"Retry-After": "1"}
    if unavailable(error):
        log.warning("api.unavailable", path=request.path, error=failure(error))
        detail = "The database cannot be reached now. Edges keep answering from their snapshots."
        refused = Refused(503, "unavailable", detail)
        return refused, {"Retry-After": "1"}
    log.exception("api.failed", path=request.path, request_id=request.get(REQUEST_ID))
    detail = "An internal error, which the control plane logged with this request_id."
    return Refused(500, "internal", detail), {}


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost middleware: assigns the request id, and turns errors into problem documents."""
    offered = request.headers.get("X-Request-Id", "")
    request[REQUEST_ID] = offered if _OFFERED_ID.fullmatch(offered) else secrets.token_hex(8)
    response: web.StreamResponse
    try:
        response = await handler(request)
    except web.HTTPException as error:
        response = error if error.status < 400 else _answer(error, request)
    except Exception as error:
        response = _answer(error, request)
    if not response.prepared:
        response.headers["X-Request-Id"] = request[REQUEST_ID]
    return response


def _answer(error: Exception, request: web.Request) -> web.Response:
    refused, headers = _refusal(error, request)
    return problem(refused, request, headers)
