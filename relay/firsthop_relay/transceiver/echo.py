"""The echo application of the reference transceiver: sends all media and messages back."""

from __future__ import annotations

import asyncio

from aiortc import RTCDataChannel, RTCPeerConnection
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack


def echo(connection: RTCPeerConnection) -> None:
    """Send every track and every message back; call it before the offer is applied."""
    connection.on("track", connection.addTrack)
    connection.on("datachannel", _echo_channel)


def _echo_channel(channel: RTCDataChannel) -> None:
    channel.on("message", channel.send)


def consume_unsent(connection: RTCPeerConnection) -> list[asyncio.Task[None]]:
    """Tasks that read and discard tracks that are not sent back, so that media do not pile up.

    Call it once the answer is applied.
    """
    return [
        asyncio.create_task(_read(each.receiver.track))
        for each in connection.getTransceivers()
        if each.currentDirection == "recvonly" and each.receiver.track is not None
    ]


async def _read(track: MediaStreamTrack) -> None:
    try:
        while True:
            await track.recv()
    except MediaStreamError:  # it has ended
        return
