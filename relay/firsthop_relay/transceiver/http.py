"""The transceiver's HTTP API: sessions for allocators, `/metrics`, `/healthz` and `/readyz`.

Allocators call `PUT`, `PATCH` and `DELETE` of `/v1/sessions/{token}`, each call signed
(`firsthop_ice.session_token`); offers and answers contain no candidates. If the transceiver mints
credentials itself, clients use WHIP (RFC 9725): `POST /v1/sessions`, then `PATCH` and `DELETE` of
its Location.
"""

from __future__ import annotations

import json

from aiohttp import web
from aiohttp.typedefs import Handler

from firsthop_ice.sdp import (
    FRAGMENT_TYPE,
    MAX_LENGTH,
    MEDIA_TYPE,
    SdpError,
    answer_with,
    fragment_with,
    read_fragment,
    stripped_offer,
)
from firsthop_net.http_server import HttpRunner
from firsthop_net.listening import ListenError
from firsthop_relay.process.metrics import metrics_answer
from firsthop_relay.transceiver.counts import TRANSCEIVER_METRICS
from firsthop_relay.transceiver.errors import SessionError
from firsthop_relay.transceiver.sessions import Sessions
from firsthop_steering.feed.reason_phrases import reason_phrase

SIGNATURE = "Firsthop-Signature"
UFRAG = "Firsthop-Ufrag"
GRACE_S = 2.0


def create_app(sessions: Sessions) -> web.Application:
    """The application over these sessions."""
    door = _Door(sessions)
    app = web.Application(middlewares=[door.border], client_max_size=MAX_LENGTH)
    app.add_routes(
        [
            web.post("/v1/sessions", door.post),
            web.post("/v1/sessions/", door.post),
            web.put("/v1/sessions/{token}", door.put),
            web.patch("/v1/sessions/{token}", door.patch),
            web.patch("/v1/sessions/{token}/", door.patch),
            web.delete("/v1/sessions/{token}", door.delete),
            web.delete("/v1/sessions/{token}/", door.delete),
            web.get("/metrics", door.metrics),
            web.get("/healthz", door.healthz),
            web.get("/readyz", door.readyz),
        ]
    )
    return app


async def serve_http(sessions: Sessions, host: str, port: int) -> web.AppRunner:
    """Serve on `host`:`port` until the runner's `cleanup()`. Raises ListenError."""
    runner = HttpRunner(create_app(sessions), shutdown_timeout=GRACE_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise ListenError("TCP", host, port, error) from error
    return runner


class _Door:
    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    @web.middleware
    async def border(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turns refusals into problem documents (RFC 9457)."""
        try:
            return await handler(request)
        except SessionError as error:
            self._sessions.counts.sessions[f"refused_{error.kind}"] += 1
            response = _problem(error.status, error.detail)
            if error.status == 415:
                taken = FRAGMENT_TYPE if request.method == "PATCH" else MEDIA_TYPE
                response.headers[f"Accept-{request.method.capitalize()}"] = taken
            return response
        except SdpError as error:
            self._sessions.counts.sessions["refused_offer"] += 1
            return _problem(422, f"the description {error}")
        except web.HTTPException as error:
            return _problem(error.status, error.reason.lower())

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Open a session for a client, with a credential minted here."""
        ufrag = self._sessions.fresh_ufrag()
        offer = stripped_offer(_text(await _read(request, MEDIA_TYPE)))
        token = self._sessions.token(ufrag)
        answer, tag = await self._sessions.open(token, offer)
        response = _response(answer_with(answer, self._candidates), MEDIA_TYPE, tag, status=201)
        response.headers["Location"] = f"/v1/sessions/{token}"
        return response

    async def put(self, request: web.Request) -> web.StreamResponse:
        """Open a session for an allocator: the offer in, the answer out."""
        token = request.match_info["token"]
        body = await _read(request, MEDIA_TYPE)
        self._check(request, body)
        answer, tag = await self._sessions.open(token, stripped_offer(_text(body)))
        return _response(answer, MEDIA_TYPE, tag, status=201)

    async def patch(self, request: web.Request) -> web.StreamResponse:
        """Restart ICE with a ufrag that the allocator or this transceiver minted."""
        body = await _read(request, FRAGMENT_TYPE)
        token, signed = request.match_info["token"], SIGNATURE in request.headers
        if signed:
            ufrag = self._check(request, body)
        else:
            ufrag = self._sessions.fresh_ufrag()
            self._sessions.named(token)
        asked = read_fragment(_text(body))
        if_match = ", ".join(request.headers.getall("If-Match", ())) or None
        fragment, tag = self._sessions.restart(token, ufrag, asked, if_match)
        if not signed:
            fragment = fragment_with(fragment, self._candidates)
        return _response(fragment, FRAGMENT_TYPE, tag, status=200)

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """End a session."""
        if SIGNATURE in request.headers or self._sessions.mint is None:
            self._check(request, b"")
        await self._sessions.end(request.match_info["token"])
        return web.Response(status=200)

    async def metrics(self, _: web.Request) -> web.Response:
        """Metrics for Prometheus."""
        return metrics_answer(self._sessions.counts.reading(), TRANSCEIVER_METRICS)

    async def healthz(self, _: web.Request) -> web.Response:
        """200 while the process runs."""
        return web.Response(text="ok\n")

    async def readyz(self, _: web.Request) -> web.Response:
        """Whether the transceiver accepts new sessions."""
        draining = self._sessions.draining
        return web.json_response({"ready": not draining}, status=503 if draining else 200)

    @property
    def _candidates(self) -> tuple[str, ...]:
        return self._sessions.mint.candidates if self._sessions.mint else ()

    def _check(self, request: web.Request, body: bytes) -> str:
        """The ufrag that the allocator names, "" if it names none. Raises SessionError if the call
        has no valid signature."""
        ufrag = request.headers.get(UFRAG, "")
        self._sessions.check_call(
            request.headers.get(SIGNATURE, ""),
            request.method,
            request.match_info["token"],
            ufrag=ufrag,
            body=body,
        )
        return ufrag


async def _read(request: web.Request, media_type: str) -> bytes:
    if request.content_type != media_type:
        raise SessionError(415, f"the body must be {media_type}", "media_type")
    return await request.read()


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise SdpError("is not UTF-8 (RFC 8866 §5)") from None


def _response(text: str, media_type: str, tag: str, *, status: int) -> web.Response:
    headers = {"Content-Type": media_type, "ETag": tag, "Cache-Control": "no-store"}
    return web.Response(body=text.encode(), status=status, headers=headers)


def _problem(status: int, detail: str) -> web.Response:
    value = {"title": reason_phrase(status), "status": status, "detail": detail}
    headers = {"Content-Type": "application/problem+json"}
    return web.Response(body=json.dumps(value).encode(), status=status, headers=headers)
