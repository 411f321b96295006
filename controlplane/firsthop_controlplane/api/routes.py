"""Every operation of the API, and how an application serves them."""

from __future__ import annotations

import functools
from importlib.metadata import version

from aiohttp import web
from aiohttp.typedefs import Handler

from firsthop_controlplane.api import (
    history,
    keys,
    machines,
    measurements,
    planning,
    process,
    records,
    registration,
    replicas,
    resources,
    simulate,
    steering,
    stream,
    tokens,
)
from firsthop_controlplane.api.openapi import openapi
from firsthop_controlplane.api.operations import (
    PRINCIPAL,
    Calling,
    Operation,
    answer_json,
    handler_of,
)
from firsthop_controlplane.deps import Deps
from firsthop_controlplane.errors import Refused


def add_routes(router: web.UrlDispatcher, deps: Deps) -> None:
    """Add routes for the whole API and its description; count the requests and refusals."""
    for operation in (*_operations(), _description()):
        handler = _counted(operation, handler_of(operation), deps)
        router.add_route(operation.method, operation.path, handler)


def _operations() -> tuple[Operation, ...]:
    """The whole API except its own description."""
    return (
        *process.OPERATIONS,
        *(each for resource in resources.RESOURCES for each in resources.operations_of(resource)),
        *records.OPERATIONS,
        *history.OPERATIONS,
        *steering.OPERATIONS,
        *simulate.OPERATIONS,
        *tokens.OPERATIONS,
        *keys.OPERATIONS,
        *machines.OPERATIONS,
        *registration.OPERATIONS,
        *measurements.OPERATIONS,
        *planning.OPERATIONS,
        *stream.OPERATIONS,
        *replicas.OPERATIONS,
    )


def _counted(operation: Operation, handler: Handler, deps: Deps) -> Handler:
    """Wrap a handler so that it counts its requests by status, and refusals by token."""

    async def handle(request: web.Request) -> web.StreamResponse:
        code = "error"
        try:
            response = await handler(request)
            code = str(response.status)
            return response
        except Exception as error:
            if isinstance(error, Refused):
                principal, peer = request.get(PRINCIPAL), request.remote
                deps.token_uses.refused(principal, error.kind, deps.now(), peer=peer)
            code = str(getattr(error, "status", "5xx"))
            raise
        finally:
            deps.measures.requests.labels(operation.name, code).inc()

    return handle


@functools.cache
def _description() -> Operation:
    """/openapi.json, which lists itself too; made once per process, as this takes long."""
    document: dict[str, object] = {}

    async def describe(calling: Calling) -> web.Response:
        return answer_json(document)

    operation = Operation(
        method="GET",
        path="/openapi.json",
        name="openapi",
        summary="This description",
        tag="process",
        call=describe,
        roles=None,
        answer={"type": "object"},
    )
    document.update(openapi((*_operations(), operation), version("firsthop")))
    return operation
