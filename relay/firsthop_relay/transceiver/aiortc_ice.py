"""Replaces the ICE of aiortc 1.16 with our ICE-lite agent; the only module that uses its internals.

It also replaces the cipher suites of aiortc's certificates, which exclude peers with RSA keys, and
the buffer of its video receivers.

`RTCPeerConnection` creates its gatherer, and with it ICE credential and sockets, and takes no
arguments for them. So this module replaces the gatherer's class, once. The new class uses the
connection that `ice_of` has put into a context variable; if there is none, it behaves as aiortc's.

The connection sends no checks and ignores the peer's candidates. Its own candidate is a placeholder
(aiortc does not start without one), and it sends to the address that its `Path` selects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import aiortc.rtcdtlstransport
import aiortc.rtcpeerconnection
from aioice import Candidate, Connection
from aiortc import RTCBundlePolicy, RTCCertificate, RTCConfiguration, RTCPeerConnection
from aiortc.rtcconfiguration import RTCIceServer, RTCIceTransportPolicy
from aiortc.rtcdtlstransport import RtpReceiver, RtpRouter, RtpSender, SRTPProtectionProfile
from aiortc.rtcicetransport import RTCIceGatherer
from aiortc.rtcrtpparameters import RTCRtpReceiveParameters
from aiortc.rtcrtpreceiver import RTCRtpReceiver
from aiortc.rtp import RTCP_PSFB_FIR, AnyRtcpPacket, RtcpPsfbPacket
from OpenSSL import SSL

from firsthop_relay.transceiver.path import Path
from firsthop_relay.transceiver.pictures import KEYFRAME_TESTS, PictureBuffer
from firsthop_relay.transceiver.port import MediaPort

MAX_QUEUE = 512
"""Most datagrams that a session may leave unread: five seconds of audio and video."""
_CIPHERS = ":".join(
    f"ECDHE-{signature}-{cipher}"
    for cipher in (
        "AES128-GCM-SHA256",
        "CHACHA20-POLY1305",
        "AES256-GCM-SHA384",
        "AES128-SHA",
        "AES256-SHA",
    )
    for signature in ("ECDSA", "RSA")
)
"""Cipher suites of DTLS, the best first. aiortc's have ECDSA only; a peer's certificate may be RSA
(RFC 8827 §6.5), and is then the server's, as the transceiver is the DTLS client."""
_PLACEHOLDER = Candidate(
    foundation="1", component=1, transport="udp", priority=1, host="0.0.0.0", port=9, type="host"
)
"""The address of a media section whose candidates are sent by other means (RFC 8840 §4.1.1)."""


class LiteConnection(Connection):
    """An ICE-lite agent behind a shared port, in place of aioice's full agent."""

    def __init__(self, port: MediaPort, ufrag: str, password: str) -> None:
        super().__init__(ice_controlling=False, local_username=ufrag, local_password=password)
        self.path = Path(began=port.clock())
        self._port = port
        self._ready = asyncio.Event()
        port.admit(self, ufrag, password)

    def restart(self, ufrag: str, password: str) -> None:
        """Accept one more credential; DTLS and media go on over the path that its checks select."""
        self._local_username, self._local_password = ufrag, password
        self._port.admit(self, ufrag, password)

    def chosen(self) -> None:
        """The peer has chosen an address: ICE is done (RFC 8445 §8.1.2)."""
        self._ready.set()

    def take(self, packet: bytes) -> bool:
        """Queue a datagram for DTLS or SRTP; False if the queue is full."""
        if self._queue.qsize() >= MAX_QUEUE:
            return False
        self.data_received(packet, 1)
        return True

    async def gather_candidates(self) -> None:
        """Nothing to gather: clients get the relays' addresses."""
        self._local_candidates = [_PLACEHOLDER]

    async def add_remote_candidate(self, remote_candidate: Candidate | None) -> None:
        """Ignores a peer's candidates: its checks show its addresses."""

    async def connect(self) -> None:
        """Wait until the peer has chosen an address. Raises ConnectionError if closed before."""
        await self._ready.wait()
        if self._closing:
            raise ConnectionError("closed before the peer has chosen an address")

    async def recvfrom(self) -> tuple[bytes, int]:
        """The next datagram, and the component, always 1. Raises ConnectionError once closed."""
        if self._closing:
            raise ConnectionError("closed")
        received = await self._queue.get()
        if received is None:
            raise ConnectionError("closed while receiving")
        return received

    async def sendto(self, data: bytes, component: int) -> None:
        """Send to the selected address. Raises ConnectionError if there is none, or once closed."""
        if self._closing or self.path.selected is None:
            raise ConnectionError("there is no address to send to")
        self._port.send(data, self.path.selected)

    async def close(self) -> None:
        """End the session; called by aiortc and by the sweep of sessions."""
        self._closing = True
        self._ready.set()
        self._port.forget(self)
        await super().close()


_laid_ready: ContextVar[LiteConnection | None] = ContextVar("laid_ready", default=None)


class _Gatherer(RTCIceGatherer):
    def __init__(
        self,
        iceServers: list[RTCIceServer] | None = None,  # noqa: N803 - aiortc's names
        iceTransportPolicy: RTCIceTransportPolicy = RTCIceTransportPolicy.ALL,  # noqa: N803
        local_username: str | None = None,
        local_password: str | None = None,
    ) -> None:
        super().__init__(iceServers, iceTransportPolicy, local_username, local_password)
        ready = _laid_ready.get()
        if ready is not None:
            self._connection = ready


class _Certificate(RTCCertificate):
    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> SSL.Context:
        context = super()._create_ssl_context(srtp_profiles)
        context.set_cipher_list(_CIPHERS.encode())
        return context


class _Receiver(RTCRtpReceiver):
    async def receive(self, parameters: RTCRtpReceiveParameters) -> None:
        tests = {
            codec.payloadType or 0: KEYFRAME_TESTS[codec.name]
            for codec in parameters.codecs
            if codec.name in KEYFRAME_TESTS
        }
        if tests:
            self._RTCRtpReceiver__jitter_buffer = PictureBuffer(tests)
        await super().receive(parameters)


class _Router(RtpRouter):
    def route_rtcp(self, packet: AnyRtcpPacket) -> set[RtpReceiver | RtpSender]:
        """Also finds the senders that a FIR names, whose media source is 0 (RFC 5104 §4.3.1.2)."""
        found = super().route_rtcp(packet)
        if isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_FIR:
            named = {int.from_bytes(packet.fci[at : at + 4], "big") for at in _fir_entries(packet)}
            found |= {sender for ssrc, sender in self.senders.items() if ssrc in named}
        return found


def _fir_entries(packet: RtcpPsfbPacket) -> range:
    """Offsets of the entries of a FIR: 8 bytes each, an SSRC first (RFC 5104 §4.3.1.1)."""
    return range(0, len(packet.fci) - 7, 8)


aiortc.rtcdtlstransport.RtpRouter = _Router  # type: ignore[misc]
aiortc.rtcpeerconnection.RTCRtpReceiver = _Receiver  # type: ignore[attr-defined]
aiortc.rtcpeerconnection.RTCIceGatherer = _Gatherer  # type: ignore[attr-defined]
aiortc.rtcpeerconnection.RTCCertificate = _Certificate  # type: ignore[attr-defined]


@contextmanager
def ice_of(connection: LiteConnection) -> Iterator[RTCPeerConnection]:
    """A peer connection over `connection`. Create its description within this context, as the
    gatherer is created then: exactly one, since all media are bundled."""
    token = _laid_ready.set(connection)
    try:
        # No servers: the default asks a public STUN server.
        yield RTCPeerConnection(
            RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
        )
    finally:
        _laid_ready.reset(token)
