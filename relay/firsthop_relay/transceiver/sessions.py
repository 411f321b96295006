"""The sessions of a transceiver by token: open, restart, end, and sweep those that are over.

Calls are authorised here, with the region's password keys alone: no other service is asked, and
credentials from any allocator of the deployment are accepted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog

from firsthop_ice.region_keys import RegionKeys
from firsthop_ice.sdp import Fragment, write_fragment
from firsthop_ice.session_token import SessionName, call_is_genuine, make_token, read_token
from firsthop_ice.ufrag import claims
from firsthop_relay.transceiver.counts import TransceiverCounters
from firsthop_relay.transceiver.errors import SessionError
from firsthop_relay.transceiver.minting import Mint
from firsthop_relay.transceiver.port import MediaPort
from firsthop_relay.transceiver.session import Session

log = structlog.get_logger("firsthop.transceiver")

SWEEP_S = 1.0


class Sessions:
    """All sessions behind one port. `keys` may be replaced at any time."""

    def __init__(
        self,
        port: MediaPort,
        keys: RegionKeys,
        *,
        limit: int,
        wire_id: int,
        clock: Callable[[], datetime],
        mint: Mint | None = None,
    ) -> None:
        """`limit` is the most sessions at a time, `wire_id` that of this transceiver. `mint` mints
        credentials for sessions that clients open without an allocator."""
        self.mint = mint
        self.keys = keys
        self.draining = False
        self._port = port
        self._limit = limit
        self._wire_id = wire_id
        self._clock = clock
        self._open: dict[str, Session] = {}
        port.probe_password_of = self._derived
        self.counts.open_sessions = lambda: len(self._open)
        self.counts.accepting = lambda: not self.draining

    @property
    def counts(self) -> TransceiverCounters:
        """The counters of the port, which are those of the whole transceiver."""
        return self._port.counts

    def named(self, token: str) -> SessionName:
        """The session that `token` names, verified with a key of this region. Raises SessionError
        404."""
        name = read_token(token)
        key = None if name is None else self.keys.by_id.get(name.claimed.key_id)
        mine = name is not None and name.claimed.region == self.keys.region
        if name is None or key is None or not mine or not name.genuine(key):
            raise SessionError(404, "there is no such session here", "unknown")
        return name

    def check_call(
        self, signature: str, method: str, token: str, *, ufrag: str, body: bytes
    ) -> None:
        """Verify an allocator's signature. Raises SessionError 401, or 404 for a foreign token."""
        key = self.keys.by_id[self.named(token).claimed.key_id]
        if not call_is_genuine(signature, key, method, token, ufrag, body):
            raise SessionError(401, "this is not signed with a key of this region", "signature")

    def fresh_ufrag(self) -> str:
        """A ufrag minted here. Raises SessionError 401 if only allocators may open sessions, 503 if
        a key is missing."""
        if self.mint is None:
            raise SessionError(
                401, "only allocators may open sessions here; ask an allocator", "signature"
            )
        return self.mint.ufrag(self.keys, self._wire_id)

    def token(self, ufrag: str) -> str:
        """The token of a new session whose first ufrag is `ufrag`."""
        return make_token(ufrag, self.keys.by_id[self.keys.signing])

    async def open(self, token: str, offer: str) -> tuple[str, str]:
        """The answer, without candidates, and the entity-tag. Raises SessionError.

        `offer` has gone through `stripped_offer`. The session's first ufrag is in the token.
        """
        name = self.named(token)
        if self.draining or len(self._open) >= self._limit:
            why = "drains" if self.draining else f"has {self._limit} sessions, and takes no more"
            raise SessionError(503, f"this transceiver {why}", "full")
        if token in self._open:
            raise SessionError(409, "this session is open already", "open_already")
        session = Session(self._port, name.ufrag, self._password(name.ufrag))
        self._open[token] = session
        try:
            answer = await session.answer(offer, self._on_connected)
        except BaseException:
            await self._end(token, "")
            raise
        self.counts.sessions["opened"] += 1
        return answer, etag(session.ufrag)

    def restart(
        self, token: str, ufrag: str, asked: Fragment, if_match: str | None
    ) -> tuple[str, str]:
        """The fragment with the new credential, without candidates, and the new entity-tag.

        Raises SessionError as in RFC 9725 §4.3: 428 without If-Match. `*`, which the RFC writes in
        quotes, means a restart. Tags mean trickle ICE, which is refused: 412 if none of them is the
        session's, else 422.
        """
        session = self._open.get(token)
        if session is None:
            raise SessionError(404, "there is no such session here", "unknown")
        if if_match is None:
            raise SessionError(428, "If-Match is needed", "precondition")
        if if_match.strip() not in ("*", '"*"'):
            # Compared as a whole (RFC 9110 §13.1.1): a weak tag is another one.
            if etag(session.ufrag) not in (each.strip() for each in if_match.split(",")):
                raise SessionError(412, "the session has another entity-tag", "precondition")
            rule = (
                "candidates are not accepted: relays learn the client's addresses from its checks"
            )
            raise SessionError(422, rule, "trickle")
        password = self._password(ufrag)
        if not session.restart(ufrag, password):
            raise SessionError(409, "the ufrag is in use already", "ufrag")
        self.counts.sessions["restarted"] += 1
        return write_fragment(ufrag, password, asked), etag(ufrag)

    async def end(self, token: str) -> None:
        """End a session on the client's DELETE. Raises SessionError 404."""
        self.named(token)
        if token not in self._open:
            raise SessionError(404, "there is no such session here", "unknown")
        await self._end(token, "deleted")

    async def sweep(self) -> None:
        """End sessions whose peers are gone, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            for token, session in list(self._open.items()):
                why = session.why_over()
                if why:
                    await self._end(token, why)

    async def close(self) -> None:
        """End all sessions."""
        await asyncio.gather(*(self._end(token, "stopped") for token in list(self._open)))

    def _password(self, ufrag: str) -> str:
        """The password of an unexpired ufrag for this transceiver. Raises SessionError 422."""
        password = self._derived(ufrag)
        if password is None:
            rule = "the ufrag is not for this transceiver, or has expired"
            raise SessionError(422, rule, "ufrag")
        return password

    def _derived(self, ufrag: str | bytes) -> str | None:
        """The password of an unexpired ufrag for this transceiver; None for any other ufrag."""
        claimed = claims(ufrag)
        if claimed is None or claimed.transceiver not in (0, self._wire_id):
            return None
        return self.keys.password(ufrag) if self._clock() < claimed.expires_at else None

    async def _end(self, token: str, why: str) -> None:
        session = self._open.pop(token, None)
        if session is not None:
            if why:
                self.counts.sessions[why] += 1
                log.info("session.ended", why=why)
            await session.close()

    def _on_connected(self) -> None:
        self.counts.sessions["connected"] += 1


def etag(ufrag: str) -> str:
    """The entity-tag of an ICE session (RFC 9725 §4.3.1); it changes with every restart."""
    return f'"{ufrag}"'
