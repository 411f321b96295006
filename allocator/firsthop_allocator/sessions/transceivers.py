"""HTTP client of transceivers: signed calls with a time-out, without retries."""

from __future__ import annotations

import json
from dataclasses import dataclass

import aiohttp

from firsthop_ice.session_token import sign_call
from firsthop_steering.plan.model import Transceiver

CONNECT_S = 1.0
"""Seconds to connect, inside the operator's network; the delay that a dead transceiver causes."""
TOTAL_S = 5.0
REST_S = 5.0
"""Seconds for which a transceiver that did not answer is asked after all others."""


@dataclass(frozen=True, slots=True)
class TransceiverResponse:
    """What a transceiver answered."""

    status: int
    body: str
    tag: str
    """Its ETag."""
    detail: str
    """The transceiver's reason for a refusal; empty if it did not refuse."""


class Transceivers:
    """The HTTP client for all transceivers of the plan. Create it in a running loop; `close` it."""

    def __init__(self) -> None:
        timeout = aiohttp.ClientTimeout(total=TOTAL_S, sock_connect=CONNECT_S)
        self._http = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        self._rests: dict[str, float] = {}

    async def close(self) -> None:
        """Ends calls under way."""
        await self._http.close()

    def resting(self, now: float) -> frozenset[str]:
        """Ids of the transceivers that failed to answer within the last REST_S; `now` is on the
        clock that `ask` uses."""
        self._rests = {each: until for each, until in self._rests.items() if until > now}
        return frozenset(self._rests)

    async def ask(
        self,
        method: str,
        transceiver: Transceiver,
        token: str,
        password_key: bytes,
        *,
        now: float,
        body: bytes = b"",
        media_type: str = "",
        ufrag: str = "",
        if_match: str | None = None,
    ) -> TransceiverResponse | None:
        """The transceiver's response. None if it does not answer: then `resting` contains it for
        REST_S."""
        headers = {"Firsthop-Signature": sign_call(password_key, method, token, ufrag, body)}
        for name, value in (
            ("Content-Type", media_type),
            ("Firsthop-Ufrag", ufrag),
            ("If-Match", if_match),
        ):
            if value:
                headers[name] = value
        try:
            async with self._http.request(
                method, _url(transceiver, token), data=body, headers=headers, allow_redirects=False
            ) as response:
                return _response(
                    response.status, await response.read(), response.headers.get("ETag", "")
                )
        except (aiohttp.ClientError, TimeoutError, OSError):
            self._rests[transceiver.id] = now + REST_S
            return None


def _response(status: int, raw: bytes, tag: str) -> TransceiverResponse:
    text = raw.decode("utf-8", "replace")
    return TransceiverResponse(status, text, tag, "" if status < 400 else _detail(text))


def _detail(text: str) -> str:
    try:
        return str(json.loads(text)["detail"])
    except (ValueError, KeyError, TypeError):
        return "the transceiver gives no reason"


def _url(transceiver: Transceiver, token: str) -> str:
    if transceiver.signalling_ipv4 is not None:
        host = str(transceiver.signalling_ipv4)
    else:
        host = f"[{transceiver.signalling_ipv6}]"
    return f"http://{host}:{transceiver.signalling_port}/v1/sessions/{token}"
