"""Assembles the frames of a video from its packets, and asks for keyframes. Pure.

It replaces aiortc's buffer, which waits for a packet that is lost for good until 512 later ones
have come: 10 to 20 s at the rate of a call. Here a gap that is not repaired in time is given up:
frames are dropped until the next keyframe, which is asked for (PLI, RFC 4585 §6.3.1) until it
comes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from aiortc.jitterbuffer import JitterFrame

GAP_S = 0.25
"""Seconds that a missing packet may take to be sent again: the round trip to most clients."""
ASK_S = 0.4
"""Seconds between two requests for a keyframe; libwebrtc makes one every 0.3 s at most."""
MAX_AHEAD = 512
"""Packets by which one may be ahead of the oldest that is awaited; else the stream has jumped."""
MAX_REPAIRED = 128
"""Packets in a row that can be sent again (aiortc asks for no more); more are given up at once."""
MAX_LATE = 256
"""Packets by which one may be late; beyond, the stream has begun anew."""
_SEQUENCE_NUMBERS = 1 << 16
_H264_START = b"\0\0\0\1"
_H264_IDR = 5


class VideoPacket(Protocol):
    """An RTP packet as aiortc has it; `_data` is its payload without the codec's descriptor."""

    sequence_number: int
    timestamp: int
    payload_type: int
    payload: bytes
    _data: bytes


IsKeyframe = Callable[[bytes, bytes], bool]
"""Whether a frame is a keyframe, by its first packet's payload and its data."""


def is_vp8_keyframe(payload: bytes, data: bytes) -> bool:
    """Whether a frame begins with the start of its first partition (S is 1, PID 0) and is no
    interframe (RFC 7741 §4.2, §4.3)."""
    return payload[0] & 0x17 == 0x10 and not data[0] & 1


def is_h264_keyframe(payload: bytes, data: bytes) -> bool:
    """Whether a frame begins with a whole NAL unit and has a slice of an IDR picture."""
    units = data.split(_H264_START)
    return not units[0] and any(unit and unit[0] & 0x1F == _H264_IDR for unit in units)


KEYFRAME_TESTS: Mapping[str, IsKeyframe] = {"VP8": is_vp8_keyframe, "H264": is_h264_keyframe}
"""By the name of the codec: those that aiortc decodes."""


class PictureBuffer:
    """The packets of one video that await earlier ones. `add` has the signature of aiortc's."""

    def __init__(
        self,
        keyframe_tests: Mapping[int, IsKeyframe],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`keyframe_tests` are by payload type."""
        self._keyframe_tests = keyframe_tests
        self._clock = clock
        self._packets: dict[int, VideoPacket] = {}
        self._next: int | None = None
        """The sequence number of the oldest packet that is awaited."""
        self._hole: tuple[int, float] | None = None
        """The missing packet that others wait for, and since when."""
        self._wants_keyframe = True
        self._asked_at: float | None = None

    def add(self, packet: VideoPacket) -> tuple[bool, JitterFrame | None]:
        """Whether to ask for a keyframe now, and the next frame that can be decoded."""
        now = self._clock()
        if self._asked_at is None:
            self._asked_at = now  # the first frame is a keyframe, and may be under way
        self._put(packet)
        frame = self._decodable()
        if frame is None and self._gives_up(now):
            frame = self._decodable()
        return self._asks(now), frame

    def _put(self, packet: VideoPacket) -> None:
        number = packet.sequence_number
        ahead = 0 if self._next is None else (number - self._next) % _SEQUENCE_NUMBERS
        if _SEQUENCE_NUMBERS - ahead < MAX_LATE:
            return
        if self._next is None or ahead >= MAX_AHEAD:
            self._wants_keyframe = True
            self._packets.clear()
            self._next = number
        self._packets[number] = packet

    def _decodable(self) -> JitterFrame | None:
        while frame := self._complete():
            first = frame[0]
            for each in frame:
                del self._packets[each.sequence_number]
            self._next = (frame[-1].sequence_number + 1) % _SEQUENCE_NUMBERS
            data = b"".join(each._data for each in frame)
            if not first.payload or not data:  # padding alone
                continue
            test = self._keyframe_tests[first.payload_type]
            self._wants_keyframe = self._wants_keyframe and not test(first.payload, data)
            if not self._wants_keyframe:
                return JitterFrame(data, first.timestamp)
        return None

    def _complete(self) -> list[VideoPacket]:
        """The packets of the oldest frame, if all have come; else none. It ends where the next one
        begins, as packets of padding may follow the one with the marker."""
        run = self._run()
        end = next((n for n, each in enumerate(run) if each.timestamp != run[0].timestamp), 0)
        return run[:end]

    def _run(self) -> list[VideoPacket]:
        """The packets from the oldest that is awaited to the first that is missing."""
        assert self._next is not None
        run: list[VideoPacket] = []
        while packet := self._packets.get((self._next + len(run)) % _SEQUENCE_NUMBERS):
            run.append(packet)
        return run

    def _gives_up(self, now: float) -> bool:
        """Whether a missing packet has been given up, with the frame that it belongs to."""
        assert self._next is not None
        run = self._run()
        if len(run) == len(self._packets):
            self._hole = None
            return False
        missing = (self._next + len(run)) % _SEQUENCE_NUMBERS
        if self._hole is None or self._hole[0] != missing:
            self._hole = missing, now
        later = self._packets.keys() - {packet.sequence_number for packet in run}
        oldest = min(later, key=lambda each: (each - missing) % _SEQUENCE_NUMBERS)
        if now - self._hole[1] < GAP_S and (oldest - missing) % _SEQUENCE_NUMBERS <= MAX_REPAIRED:
            return False
        for packet in run:
            del self._packets[packet.sequence_number]
        self._next = oldest
        self._hole = None
        self._wants_keyframe = True
        return True

    def _asks(self, now: float) -> bool:
        assert self._asked_at is not None
        if not self._wants_keyframe or now - self._asked_at < ASK_S:
            return False
        self._asked_at = now
        return True
