"""Sessions over HTTP (WHIP, RFC 9725): an offer in, an answer with relay candidates out.

The allocator chooses the route and mints the credential; a transceiver of the chosen region answers
the offer. No session state is kept here: the session's URL is enough to find the session again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog
from aiohttp import web

from firsthop_allocator.allocations.allocation import turn_of
from firsthop_allocator.allocations.answer_json import ice_server_links
from firsthop_allocator.allocations.route import AllocationRefused
from firsthop_allocator.allocations.routing import find_relays, steered_service
from firsthop_allocator.allocations.state import AllocatorState
from firsthop_allocator.errors import Problem, RequestFault, wrong
from firsthop_allocator.http.answers import RETRY, refusal
from firsthop_allocator.http.bodies import read_octets
from firsthop_allocator.http.callers import RequestClient
from firsthop_allocator.http.counts import AllocatorCounters
from firsthop_allocator.http.schema import SessionQuery
from firsthop_allocator.sessions.session import (
    ENTROPY_LENGTH,
    SessionAttempt,
    SessionLocation,
    candidates,
    locate_session,
    renewed,
    session_attempts,
)
from firsthop_allocator.sessions.transceivers import TransceiverResponse, Transceivers
from firsthop_allocator.settings import MAX_OFFER
from firsthop_ice import ufrag
from firsthop_ice.sdp import (
    FRAGMENT_TYPE,
    MEDIA_TYPE,
    SdpError,
    answer_with,
    fragment_with,
    stripped_offer,
)

log = structlog.get_logger(__name__)

PATH = "/v1/sessions"
_ASK_ANOTHER = (401, 404, 503)
"""Statuses of a transceiver that do not depend on the offer: the transceiver is full, drains, or
does not have a new key yet."""


class Whip:
    """The handlers. `transceivers` returns the application's HTTP client for transceivers."""

    def __init__(
        self,
        transceivers: Callable[[web.Request], Transceivers],
        clock: Callable[[], datetime],
        entropy: Callable[[int], bytes],
        counts: AllocatorCounters,
    ) -> None:
        self._transceivers = transceivers
        self._clock = clock
        self._entropy = entropy
        self._counts = counts

    async def open(
        self,
        request: web.Request,
        state: AllocatorState,
        query: SessionQuery,
        subject: RequestClient,
    ) -> web.Response:
        """201 with the answer, the session's Location and its ETag (RFC 9725 §4.2)."""
        offer = stripped(await _text(request, MEDIA_TYPE)).encode()
        wanted = subject.request(query, may_explore=self._counts.allowance.is_left)
        client, now = self._transceivers(request), self._clock()
        choice = session_attempts(
            state,
            wanted,
            now=now,
            entropy=self._entropy(ENTROPY_LENGTH),
            resting=client.resting(now.timestamp()),
        )
        if isinstance(choice, AllocationRefused):
            self._counts.allocations["", "", choice.reason] += 1
            raise refusal(choice)
        for opening in choice:
            response = await client.ask(
                "PUT",
                opening.transceiver,
                opening.token,
                opening.password_key,
                now=now.timestamp(),
                body=offer,
                media_type=MEDIA_TYPE,
            )
            if response is not None and response.status not in _ASK_ANOTHER:
                return self._opened(state, query, opening, response, subject)
            log.warning(
                "transceiver.skipped",
                transceiver=opening.transceiver.id,
                status=response and response.status,
                reason=response.detail if response else "no answer",
            )
        self._counts.allocations["", "", "no_transceiver"] += 1
        detail = "no transceiver that was asked takes the session"
        raise Problem(503, detail, kind="no-transceiver", headers=RETRY)

    def _opened(
        self,
        state: AllocatorState,
        query: SessionQuery,
        opening: SessionAttempt,
        response: TransceiverResponse,
        subject: RequestClient,
    ) -> web.Response:
        route = opening.route
        if response.status != 201:
            self._counts.allocations[route.service, "", "offer_refused"] += 1
            raise _passed_on(response)
        self._counts.granted(route, "session", subject, state.exploration_share)
        relays = [offer.relay for offer in route.offers]
        turn = turn_of(state, route, expires_at=opening.credential.expires_at)
        suffix = f"?service={query.service}" if query.service else ""
        answer = _answer(
            answer_with(response.body, candidates(relays, opening.transceiver)),
            MEDIA_TYPE,
            response.tag,
            status=201,
            headers={
                "Location": f"{PATH}/{opening.token}{suffix}",
                "Firsthop-Route": opening.note(state),
            },
        )
        for link in ice_server_links(turn, route.turn_urls):
            answer.headers.add("Link", link)
        return answer

    async def restart(
        self,
        request: web.Request,
        state: AllocatorState,
        query: SessionQuery,
        subject: RequestClient,
    ) -> web.Response:
        """200 with a new credential for the same transceiver, and the relays that are best now
        (RFC 9725 §4.3.3)."""
        body = (await _text(request, FRAGMENT_TYPE)).encode()
        at = _found(state, request)
        service = steered_service(state, query.service)
        if isinstance(service, AllocationRefused):
            raise refusal(service)
        client = state.steering.topology.client(subject.address)
        relays = find_relays(state, service, client, excluded=query.excluded)
        if isinstance(relays, AllocationRefused):
            raise refusal(relays)
        now = self._clock()
        fresh = renewed(
            state, at, ttl=query.ttl, now=now, entropy=self._entropy(ufrag.ENTROPY_LENGTH)
        )
        response = await self._ask(request, at, "PATCH", body=body, ufrag=fresh.ufrag)
        fragment = fragment_with(response.body, candidates(relays, at.transceiver))
        return _answer(fragment, FRAGMENT_TYPE, response.tag, status=200, headers={})

    async def end(self, request: web.Request, state: AllocatorState) -> web.Response:
        """200 once the session is over (RFC 9725 §4.2)."""
        await self._ask(request, _found(state, request), "DELETE")
        return web.Response(status=200)

    async def _ask(
        self, request: web.Request, at: SessionLocation, method: str, *, body: bytes = b"",
        ufrag: str = "",
    ) -> TransceiverResponse:  # fmt: skip
        """The response of the session's transceiver, with status 200. Raises Problem otherwise."""
        response = await self._transceivers(request).ask(
            method,
            at.transceiver,
            request.match_info["token"],
            at.password_key,
            now=self._clock().timestamp(),
            body=body,
            media_type=FRAGMENT_TYPE if body else "",
            ufrag=ufrag,
            if_match=", ".join(request.headers.getall("If-Match", ())) or None,
        )
        if response is None:
            detail = "the session's transceiver does not answer"
            raise Problem(503, detail, kind="no-transceiver", headers=RETRY)
        if response.status != 200:
            raise _passed_on(response)
        return response


def stripped(text: str) -> str:
    """The offer without the client's candidates. Raises Problem 422 if it cannot be answered."""
    try:
        return stripped_offer(text)
    except SdpError as error:
        raise wrong(422, RequestFault("offer", str(error))) from None


def _found(state: AllocatorState, request: web.Request) -> SessionLocation:
    at = locate_session(state, request.match_info["token"])
    if at is None:
        raise Problem(404, "there is no such session")
    return at


def _passed_on(response: TransceiverResponse) -> Problem:
    """The problem for a transceiver's refusal, with the transceiver's detail; 503 if it failed."""
    if response.status in (404, 409, 412, 415, 422, 428):
        return Problem(response.status, response.detail)
    log.error("transceiver.failed", status=response.status, reason=response.detail)
    return Problem(503, "the transceiver failed", kind="no-transceiver", headers=RETRY)


async def _text(request: web.Request, media_type: str) -> str:
    if request.content_type != media_type:
        fault = RequestFault("Content-Type", f"must be {media_type}")
        problem = wrong(415, fault)
        problem.headers = {
            "Accept-Post" if request.method == "POST" else "Accept-Patch": media_type
        }
        raise problem
    try:
        return (await read_octets(request, MAX_OFFER)).decode("utf-8")
    except UnicodeDecodeError:
        raise wrong(422, RequestFault("offer", "is not UTF-8 (RFC 8866 §5)")) from None


def _answer(
    text: str, media_type: str, tag: str, *, status: int, headers: dict[str, str]
) -> web.Response:
    fields = {"Content-Type": media_type, "ETag": tag, "Cache-Control": "no-store", **headers}
    return web.Response(body=text.encode(), status=status, headers=fields)
