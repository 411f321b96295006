"""Requests for keyframes that reach the senders of an echo."""

from __future__ import annotations

from dataclasses import dataclass

import aiortc.rtcdtlstransport
from aiortc.rtp import RTCP_PSFB_FIR, RTCP_PSFB_PLI, AnyRtcpPacket, RtcpPsfbPacket

import firsthop_relay.transceiver.aiortc_ice  # noqa: F401 - replaces aiortc's router


@dataclass(eq=False)
class Sender:
    _ssrc: int

    async def _handle_rtcp_packet(self, packet: AnyRtcpPacket) -> None:
        raise AssertionError("packets are led here, not handled")


def test_a_fir_reaches_the_senders_that_it_names() -> None:
    """Its media source is 0, and its entries name them (RFC 5104 §4.3.1); a PLI is led as ever."""
    router = aiortc.rtcdtlstransport.RtpRouter()
    first, second = Sender(0x01020304), Sender(5)
    for each in (first, second):
        router.register_sender(each, each._ssrc)
    entry = bytes.fromhex("01020304 07000000")
    unknown = bytes.fromhex("000000ff 01000000")
    fir = RtcpPsfbPacket(fmt=RTCP_PSFB_FIR, ssrc=9, media_ssrc=0, fci=unknown + entry)
    assert router.route_rtcp(fir) == {first}
    cut = RtcpPsfbPacket(fmt=RTCP_PSFB_FIR, ssrc=9, media_ssrc=0, fci=entry[:5])
    assert router.route_rtcp(cut) == set()
    pli = RtcpPsfbPacket(fmt=RTCP_PSFB_PLI, ssrc=9, media_ssrc=5)
    assert router.route_rtcp(pli) == {second}
