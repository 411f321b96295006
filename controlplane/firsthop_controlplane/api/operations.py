"""Operations of the API, and the conversion of a request to a typed call of one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ConfigDict, ValidationError

from firsthop_controlplane.access.tokens import Principal
from firsthop_controlplane.api.problems import REQUEST_ID
from firsthop_controlplane.bodies.json_text import check_text
from firsthop_controlplane.bodies.reading import check_media_type
from firsthop_controlplane.bodies.validation import faults
from firsthop_controlplane.configuration.actor import Actor, peer_address
from firsthop_controlplane.deps import DEPS, Deps
from firsthop_controlplane.errors import Refused, forbidden, malformed

PRINCIPAL: web.RequestKey[Principal] = web.RequestKey("principal", Principal)
M = TypeVar("M", bound=BaseModel)
Call = Callable[["Calling"], Awaitable[web.StreamResponse]]


class QueryParameters(BaseModel):
    """Query parameters; unknown ones are refused, so that misspelt ones are noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Forcing(QueryParameters):
    """Query parameters of changes that may move clients."""

    force: bool = False
    """Make the change even if it moves more clients than the guard allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method on one path; no token is needed if `roles` is None."""

    method: str
    path: str
    name: str
    summary: str
    tag: str
    call: Call
    roles: frozenset[str] | None
    body: type[BaseModel] | None = None
    partial: bool = False
    """The body may leave out every field (PATCH)."""
    large: bool = False
    query: type[QueryParameters] = QueryParameters
    answer: type[BaseModel] | Mapping[str, Any] | None = None
    status: int = 200
    listed: bool = False
    etag: bool = False
    if_match: Literal["must", "may"] | None = None
    """Whether a change must, or may, name the version that it starts from."""
    media_type: str = "application/json"
    refusals: tuple[int, ...] = field(default=())
    leader_only: bool = False
    """Only the leader can serve it: other replicas forward the call."""


@dataclass(frozen=True, slots=True)
class Calling:
    """An authorised request, with its parsed query and body."""

    request: web.Request
    deps: Deps
    principal: Principal | None
    query: Any
    body: BaseModel | None
    """The body as the operation's model; None if it has none, or is partial."""
    patch: dict[str, Any]
    """A partial body; empty for other operations."""

    @property
    def actor(self) -> Actor:
        name = self.principal.name if self.principal else "nobody"
        return Actor(name, peer_address(self.request.remote), self.request[REQUEST_ID])

    def part(self, name: str) -> str:
        """The value of a path parameter."""
        return self.request.match_info[name]

    def read(self, model: type[M]) -> M:
        """The body, which is of the operation's model."""
        assert isinstance(self.body, model)
        return self.body


def handler_of(operation: Operation) -> Handler:
    """The aiohttp handler: checks token, role, query and body, then runs the operation."""

    async def handle(request: web.Request) -> web.StreamResponse:
        deps = request.app[DEPS]
        principal = await _authorised(operation, request, deps)
        if principal is not None:
            deps.budgets.spend(principal.id, deps.now().timestamp())
        if operation.leader_only and not deps.leadership.leads:
            return await deps.peers.forward(request, await _raw(operation, request, deps))
        deps.token_uses.used(principal, deps.now())
        query = _query(operation.query, request)
        calling = Calling(request, deps, principal, query, None, {})
        if operation.body is not None:
            calling = await _with_body(operation, operation.body, calling)
        return await operation.call(calling)

    return handle


async def _with_body(operation: Operation, model: type[BaseModel], calling: Calling) -> Calling:
    """The call with its body, which is charged to the token."""
    check_media_type(calling.request)
    deps = calling.deps
    raw = await _raw(operation, calling.request, deps)
    refused: Refused | None = None
    try:
        if operation.partial:
            return replace(calling, patch=await deps.body_checker.json_object(raw))
        body = await deps.body_checker.model(model, raw, is_document=operation.large)
        return replace(calling, body=body)
    except Refused as error:
        refused = error
        raise
    finally:
        if calling.principal is not None:
            now = deps.now().timestamp()
            deps.budgets.charge(calling.principal.id, now, len(raw), refused)


async def _raw(operation: Operation, request: web.Request, deps: Deps) -> bytes:
    settings = deps.settings
    limit = settings.changeset_limit if operation.large else settings.body_limit
    return await deps.body_reader.read(request, limit)


async def _authorised(operation: Operation, request: web.Request, deps: Deps) -> Principal | None:
    if operation.roles is None:
        return None
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise _unauthorised("Send a token: Authorization: Bearer …")
    principal = await deps.principal(secret.strip(), request.remote)
    if principal is None:
        raise _unauthorised("This token is not known.")
    request[PRINCIPAL] = principal
    if not principal.valid(deps.now()):
        raise _unauthorised("This token has expired.")
    if principal.role not in operation.roles:
        wanted = ", ".join(sorted(operation.roles))
        detail = f"A token of role {principal.role} may not do this; allowed roles: {wanted}."
        raise forbidden(detail)
    return principal


def _unauthorised(detail: str) -> Refused:
    return Refused(401, "unauthorized", detail)


def _query(model: type[QueryParameters], request: web.Request) -> QueryParameters:
    given: dict[str, str] = {}
    for name, value in request.query.items():
        check_text(name + value)
        if name in given:
            raise malformed(f"The query parameter {name!r} occurs twice.")
        given[name] = value
    try:
        return model.model_validate(given)
    except ValidationError as error:
        errors = faults(error)
        detail = "; ".join(f"{each.field}: {each.rule}" for each in errors[:3])
        raise malformed(f"Query: {detail}", errors) from None


def answer(
    value: BaseModel, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A response with a model as JSON."""
    return web.Response(
        text=value.model_dump_json(),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def answer_json(value: Any, *, status: int = 200) -> web.Response:
    """A response with plain values as JSON."""
    response = web.json_response(value, status=status)
    response.headers["Cache-Control"] = "no-store"
    return response
