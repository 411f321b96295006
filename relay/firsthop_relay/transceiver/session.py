"""One session: answers an offer, restarts ICE, and ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from aiortc import RTCPeerConnection, RTCSessionDescription

from firsthop_ice.sdp_sections import answerable, completed
from firsthop_relay.transceiver.aiortc_ice import LiteConnection, ice_of
from firsthop_relay.transceiver.echo import consume_unsent, echo
from firsthop_relay.transceiver.errors import SessionError
from firsthop_relay.transceiver.port import MediaPort

_UNANSWERABLE = (
    "the offer has media that cannot be answered: audio must be Opus, G.722, PCMU or PCMA, video "
    "VP8 or H.264, and application a data channel over SCTP"
)

log = structlog.get_logger("firsthop.transceiver")

CONNECT_S = 30.0
"""Seconds from the offer to a completed DTLS handshake; RFC 8445 lets ICE checks take about 40 s.
"""


class Session:
    """A peer connection behind the shared port; `ufrag` is that of its latest ICE session."""

    def __init__(self, port: MediaPort, ufrag: str, password: str) -> None:
        self.ufrag = ufrag
        self.connected = False
        self._port = port
        self._ice = LiteConnection(port, ufrag, password)
        self._peer: RTCPeerConnection | None = None
        self._began = port.clock()
        self._readers: list[asyncio.Task[None]] = []
        self._closed = False

    async def answer(self, offer: str, on_connected: Callable[[], None]) -> str:
        """The answer to `offer`, without usable candidates. Raises SessionError 422."""
        with ice_of(self._ice) as peer:
            self._peer = peer
            echo(peer)
            peer.on("connectionstatechange", lambda: self._changed(peer, on_connected))
            try:
                described = RTCSessionDescription(answerable(offer), "offer")
                await peer.setRemoteDescription(described)
                await peer.setLocalDescription(await peer.createAnswer())
            except Exception as error:
                # aiortc raises ValueError, KeyError, AssertionError … in words of its own.
                log.info("offer.refused", fault=type(error).__name__, reason=str(error))
                raise SessionError(422, _UNANSWERABLE, "offer") from error
        self._readers = consume_unsent(peer)
        return completed(str(peer.localDescription.sdp), offer)

    def restart(self, ufrag: str, password: str) -> bool:
        """Accept checks for `ufrag` too; the media description stays (RFC 9725 §4.3.3).

        Returns False, and changes nothing, if the ufrag is in use already.
        """
        if self._port.knows(ufrag):
            return False
        self.ufrag = ufrag
        self._ice.restart(ufrag, password)
        return True

    def why_over(self) -> str:
        """Why the session should be closed now; empty if it should not."""
        if self._peer is not None and self._peer.connectionState in ("failed", "closed"):
            return "failed"
        if self._ice.path.expired(self._port.clock()):
            return "silent" if self.connected else "never_connected"
        if not self.connected and self._port.clock() - self._began > CONNECT_S:
            return "never_connected"
        return ""

    async def close(self) -> None:
        """End the session: nothing more is sent to the peer or accepted from it."""
        if self._closed:
            return
        self._closed = True
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        if self._peer is not None:
            await self._peer.close()
        await self._ice.close()

    def _changed(self, peer: RTCPeerConnection, on_connected: Callable[[], None]) -> None:
        if peer.connectionState == "connected" and not self.connected:
            self.connected = True
            on_connected()
