"""The allocator over HTTP: its routes, and the one place where faults become responses.

Other modules do the work: `reading` parses bodies, `callers` identifies callers, `allocation`
allocates.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from time import perf_counter

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from firsthop_allocator import demo
from firsthop_allocator.allocations.allocation import (
    ENTROPY_LENGTH,
    allocate,
)
from firsthop_allocator.allocations.route import AllocationRefused
from firsthop_allocator.allocations.routing import steered_service
from firsthop_allocator.allocations.state import AllocatorState, Holder
from firsthop_allocator.demo import stage
from firsthop_allocator.errors import Problem, unreadable
from firsthop_allocator.http import openapi
from firsthop_allocator.http.answers import RETRY, json_answer, problem_answer, refusal
from firsthop_allocator.http.bodies import read_octets
from firsthop_allocator.http.callers import (
    RequestClient,
    cors_headers,
    has_token,
    needs_token,
    subject_of,
)
from firsthop_allocator.http.counts import AllocatorCollector, AllocatorCounters
from firsthop_allocator.http.measurements import RACE_MODULE, RACES, SAMPLES, Racing, snippet
from firsthop_allocator.http.paths import (
    ALLOCATIONS,
    REGIONS,
    SESSION,
    allowed_methods,
    route_of,
)
from firsthop_allocator.http.reading import read_body, read_query
from firsthop_allocator.http.regions import rank_regions
from firsthop_allocator.http.schema import (
    AllocationBody,
    RaceBody,
    RegionsQuery,
    SamplesBody,
    SessionQuery,
)
from firsthop_allocator.http.whip import PATH as SESSIONS
from firsthop_allocator.http.whip import Whip
from firsthop_allocator.sessions.transceivers import Transceivers
from firsthop_allocator.settings import MAX_OFFER, AllocatorSettings
from firsthop_ice.sdp import MEDIA_TYPE
from firsthop_steering.feed.snapshot import age_s

log = structlog.get_logger(__name__)

_CLIENT = web.AppKey("transceivers", Transceivers)


_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match, X-Request-Id",
    "Access-Control-Max-Age": "7200",
}


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def create_app(
    holder: Holder,
    settings: AllocatorSettings,
    *,
    clock: Callable[[], datetime] = utc_now,
    entropy: Callable[[int], bytes] = os.urandom,
    counts: AllocatorCounters | None = None,
) -> web.Application:
    """The application; it answers each request with the state that `holder` has at that time."""
    api = _Api(holder, settings, clock, entropy, counts or AllocatorCounters())
    app = web.Application(client_max_size=MAX_OFFER)
    app.cleanup_ctx.append(_transceivers)
    app.router.add_post(ALLOCATIONS, api.bordered(api.allocations))
    app.router.add_get(REGIONS, api.bordered(api.regions))
    for end in ("", "/"):
        app.router.add_post(SESSIONS + end, api.bordered(api.open_session))
        app.router.add_patch(SESSION + end, api.bordered(api.restart_session))
        app.router.add_delete(SESSION + end, api.bordered(api.end_session))
    app.router.add_post(RACES, api.bordered(api.races))
    app.router.add_post(SAMPLES, api.bordered(api.samples))
    app.router.add_get(RACE_MODULE, api.bordered(api.snippet))
    app.router.add_get("/healthz", api.bordered(api.healthz))
    app.router.add_get("/readyz", api.bordered(api.readyz))
    app.router.add_get("/metrics", api.bordered(api.metrics))
    app.router.add_get("/openapi.json", api.bordered(api.openapi))
    if settings.demo:
        for path in demo.PATHS:
            app.router.add_get(path, api.bordered(api.demo))
        if settings.demo_stage is not None:
            app.router.add_post(stage.PATH, api.bordered(api.kill_relay))
    app.router.add_route("*", "/{elsewhere:.*}", api.bordered(api.elsewhere))
    return app


class _Api:
    def __init__(
        self,
        holder: Holder,
        settings: AllocatorSettings,
        clock: Callable[[], datetime],
        entropy: Callable[[int], bytes],
        counts: AllocatorCounters,
    ) -> None:
        self._holder = holder
        self._settings = settings
        self._clock = clock
        self._entropy = entropy
        self._counts = counts
        self._registry = CollectorRegistry()
        self._registry.register(AllocatorCollector(counts, holder, clock))
        self._whip = Whip(lambda request: request.app[_CLIENT], clock, entropy, counts)
        self._racing = Racing(clock, entropy, counts.samples)
        self._openapi = json.dumps(openapi.document()).encode()

    def bordered(self, handler: Handler) -> Handler:
        """`handler` inside `_border`; as a middleware it would cost 20 us more."""

        async def answer(request: web.Request) -> web.StreamResponse:
            return await self._border(request, handler)

        return answer

    async def _border(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Adds request id and CORS fields to each response; turns faults into problem documents."""
        started = perf_counter()
        given = request.headers.get("X-Request-Id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else os.urandom(8).hex()
        try:
            response = await self._answer(request, handler)
        except Problem as problem:
            response = problem_answer(problem, request_id)
        except Exception:
            log.exception("allocator.failed", path=request.path, request_id=request_id)
            response = problem_answer(Problem(500, "internal error, which is logged"), request_id)
        headers = response.headers
        headers["X-Request-Id"] = request_id
        if self._settings.cors_origins:
            headers.update(cors_headers(request.headers.get("Origin"), self._settings))
        route = route_of(request.path)
        self._counts.requests[route, response.status] += 1
        if route == ALLOCATIONS:
            self._counts.observe(perf_counter() - started)
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "OPTIONS" and allowed_methods(request.path):
            posts = {"Accept-Post": MEDIA_TYPE} if route_of(request.path) == SESSIONS else {}
            return web.Response(status=204, headers={**_PREFLIGHT, **posts})
        try:
            return await handler(request)
        except web.HTTPException as error:
            raise Problem(error.status, error.reason.lower()) from None
        except (HttpProcessingError, web.RequestPayloadError) as error:
            raise unreadable("the body does not match its header fields") from error

    async def allocations(self, request: web.Request) -> web.StreamResponse:
        state, trusted = self._admit(request)
        body = read_body(await read_octets(request), AllocationBody)
        subject = subject_of(
            request.headers, _peer(request), body.client_ip, self._settings, trusted=trusted
        )
        wanted = subject.request(body, may_explore=self._counts.allowance.is_left)
        made = allocate(state, wanted, now=self._clock(), entropy=self._entropy(ENTROPY_LENGTH))
        if isinstance(made, AllocationRefused):
            self._counts.allocations["", "", made.reason] += 1
            raise refusal(made)
        self._counts.granted(made.route, "allocated", subject, state.exploration_share)
        return web.Response(
            body=made.to_json(),
            status=201,
            headers={"Content-Type": "application/json", "Cache-Control": "no-store"},
        )

    async def open_session(self, request: web.Request) -> web.StreamResponse:
        state, query, subject = self._about_session(request)
        return await self._whip.open(request, state, query, subject)

    async def restart_session(self, request: web.Request) -> web.StreamResponse:
        state, query, subject = self._about_session(request)
        return await self._whip.restart(request, state, query, subject)

    async def end_session(self, request: web.Request) -> web.StreamResponse:
        state, _ = self._admit(request)
        return await self._whip.end(request, state)

    async def races(self, request: web.Request) -> web.StreamResponse:
        state, trusted = self._admit(request)
        body = read_body(await read_octets(request), RaceBody)
        subject = subject_of(
            request.headers, _peer(request), body.client_ip, self._settings, trusted=trusted
        )
        return json_answer(self._racing.ticket(state, body, subject), status=201)

    async def samples(self, request: web.Request) -> web.StreamResponse:
        """Takes samples from ticket holders; no token is needed, as beacons cannot carry one."""
        state = self._state()
        body = read_body(await read_octets(request), SamplesBody)
        subject = subject_of(request.headers, _peer(request), None, self._settings, trusted=False)
        return json_answer(self._racing.take(state, body, subject), status=202)

    async def snippet(self, request: web.Request) -> web.StreamResponse:
        return snippet()

    async def regions(self, request: web.Request) -> web.StreamResponse:
        state, trusted = self._admit(request)
        query = read_query(request.query.items(), RegionsQuery)
        subject = subject_of(
            request.headers, _peer(request), query.client_ip, self._settings, trusted=trusted
        )
        service = steered_service(state, query.service)
        if isinstance(service, AllocationRefused):
            raise refusal(service)
        return json_answer(rank_regions(state, service, subject), status=200)

    async def healthz(self, request: web.Request) -> web.StreamResponse:
        return json_answer({"status": "ok"}, status=200)

    async def readyz(self, request: web.Request) -> web.StreamResponse:
        state = self._holder.state
        if state is None:
            return json_answer({"ready": False, "reason": self._holder.reason}, status=503)
        now = self._clock()
        plan, status = state.steering.topology.plan, state.steering.status
        ages = {
            kind: {"number": snapshot.number, "age_s": round(age_s(snapshot, now), 3)}
            for kind, snapshot in (("plan", plan), ("status", status))
        }
        return json_answer({"ready": True, **ages}, status=200)

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        text = generate_latest(self._registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def openapi(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=self._openapi, content_type="application/json")

    async def demo(self, request: web.Request) -> web.StreamResponse:
        return demo.answer(request.path, stage=self._settings.demo_stage is not None)

    async def kill_relay(self, request: web.Request) -> web.StreamResponse:
        """Needs a token, even if allocations are public."""
        _, trusted = self._admit(request)
        if not trusted:
            raise needs_token()
        assert self._settings.demo_stage is not None
        done = await stage.kill(self._settings.demo_stage, request.match_info["relay"])
        return json_answer(done, status=200)

    async def elsewhere(self, request: web.Request) -> web.StreamResponse:
        """Raises Problem 405 if the path exists, else 404."""
        allowed = allowed_methods(request.path)
        if allowed is None:
            raise Problem(404, "nothing is at this path; /openapi.json lists what is")
        raise Problem(405, f"this path takes {allowed}", headers={"Allow": allowed})

    def _about_session(
        self, request: web.Request
    ) -> tuple[AllocatorState, SessionQuery, RequestClient]:
        state, trusted = self._admit(request)
        query = read_query(request.query.items(), SessionQuery)
        subject = subject_of(
            request.headers, _peer(request), query.client_ip, self._settings, trusted=trusted
        )
        return state, query, subject

    def _admit(self, request: web.Request) -> tuple[AllocatorState, bool]:
        """The state now, and whether the caller has a token. Raises Problem 400, 401 or 503."""
        state = self._state()
        return state, has_token(request.headers, self._settings, state.tokens, self._clock())

    def _state(self) -> AllocatorState:
        """The state in force. Raises Problem 503 if there is none."""
        if self._holder.state is None:
            raise Problem(503, self._holder.reason, kind="not-ready", headers=RETRY)
        return self._holder.state


async def _transceivers(app: web.Application) -> AsyncIterator[None]:
    """The HTTP client for transceivers, while the application runs."""
    app[_CLIENT] = client = Transceivers()
    yield
    await client.close()


def _peer(request: web.Request) -> str:
    """The address of the socket's peer; "" for a Unix socket, or if the peer has disconnected."""
    name = request.transport.get_extra_info("peername") if request.transport else None
    return str(name[0]) if isinstance(name, tuple) else ""
