"""Responses other than allocations: JSON, problem documents, refusals."""

from __future__ import annotations

import json
from collections.abc import Mapping

from aiohttp import web

from firsthop_allocator.allocations.route import AllocationRefused
from firsthop_allocator.errors import Problem, RequestFault, wrong
from firsthop_allocator.settings import RETRY_AFTER_S

RETRY = {"Retry-After": str(RETRY_AFTER_S)}


def json_answer(
    value: object, *, status: int, headers: Mapping[str, str] | None = None
) -> web.Response:
    """`value` as JSON, not to be cached."""
    fields = {"Content-Type": "application/json", "Cache-Control": "no-store", **(headers or {})}
    return web.Response(body=json.dumps(value).encode(), status=status, headers=fields)


def problem_answer(problem: Problem, request_id: str) -> web.Response:
    """The document of RFC 9457."""
    return json_answer(
        problem.to_json(request_id),
        status=problem.status,
        headers={**problem.headers, "Content-Type": "application/problem+json"},
    )


def refusal(refused: AllocationRefused) -> Problem:
    """A problem with status 422 if a field is at fault, else 503, as a retry may succeed soon."""
    if refused.field is not None:
        return wrong(422, RequestFault(refused.field, refused.rule))
    return Problem(503, refused.rule, kind=refused.reason.replace("_", "-"), headers=RETRY)
