"""Frames of a video from its packets: what is given up, what is asked for, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from aiortc.jitterbuffer import JitterFrame

from firsthop_relay.transceiver.pictures import (
    ASK_S,
    GAP_S,
    KEYFRAME_TESTS,
    MAX_AHEAD,
    PictureBuffer,
    is_h264_keyframe,
    is_vp8_keyframe,
)

VP8 = 96
FRAME_S = 1 / 30
KEY, INTER = 0x50, 0x51
"""The first byte of a VP8 frame: its lowest bit is set in interframes."""


@dataclass
class Packet:
    sequence_number: int
    timestamp: int
    payload_type: int
    payload: bytes
    _data: bytes


class Video:
    """A sender's packets, three a frame, and the buffer that receives them."""

    def __init__(self, *, first: int = 65_530) -> None:
        self.now = 100.0
        self.number = first
        self.frames = 0
        self.asked: list[float] = []
        self.shown: list[int] = []
        """The frames that came out, by their number."""
        tests = {VP8: KEYFRAME_TESTS["VP8"]}
        self.buffer = PictureBuffer(tests, clock=lambda: self.now)

    def frame(self, *, key: bool = False) -> list[Packet]:
        """The packets of the next frame."""
        self.now += FRAME_S
        self.frames += 1
        packets = []
        for part in range(3):
            data = bytes([KEY if key else INTER]) if part == 0 else b"\0more"
            start = b"\x10" if part == 0 else b"\0"
            packets.append(
                Packet(self.number % 65_536, self.frames * 3000, VP8, start + data, data)
            )
            self.number += 1
        return packets

    def send(self, *packets: Packet) -> None:
        for packet in packets:
            asks, frame = self.buffer.add(packet)
            if asks:
                self.asked.append(self.now)
            if frame is not None:
                assert isinstance(frame, JitterFrame)
                self.shown.append(frame.timestamp // 3000)

    def play(self, frames: int, *, key: bool = False) -> None:
        for _ in range(frames):
            self.send(*self.frame(key=key))

    def lose(self, frames: int) -> None:
        for _ in range(frames):
            self.frame()


@pytest.fixture
def video() -> Video:
    made = Video()
    made.play(1, key=True)
    made.play(9)
    return made


def test_frames_come_out_in_order_across_the_wrap(video: Video) -> None:
    """Each when the next one begins; nobody is asked for anything."""
    assert video.shown == [*range(1, 10)]
    assert video.asked == []


@pytest.mark.parametrize("lost", [1, 30, 120, 150, 1000])
def test_after_an_outage_a_keyframe_is_asked_for_until_it_comes(video: Video, lost: int) -> None:
    """Within a quarter of a second, again and again, and no other frame is shown before it."""
    video.lose(lost)
    began = video.now
    video.play(60)
    assert video.shown == [*range(1, 10)]
    assert video.asked[0] - began <= GAP_S + 2 * FRAME_S
    waits = [later - earlier for earlier, later in zip(video.asked, video.asked[1:], strict=False)]
    assert len(waits) >= 3
    assert max(waits) <= ASK_S + 2 * FRAME_S
    assert min(waits) >= ASK_S
    video.play(1, key=True)
    keyframe, asked = video.frames, len(video.asked)
    video.play(30)
    assert video.shown[9:] == [*range(keyframe, video.frames)]
    assert len(video.asked) == asked


def test_a_packet_that_is_sent_again_in_time_costs_nothing(video: Video) -> None:
    """Also if others came in between; no keyframe is asked for, and no frame is lost."""
    late, *rest = video.frame()
    video.send(*rest)
    video.play(int(GAP_S / FRAME_S) - 2)
    video.send(late)
    video.play(30)
    assert video.shown == [*range(1, len(video.shown) + 1)]
    assert video.frames - len(video.shown) < 10
    assert video.asked == []


def test_a_keyframe_that_loses_a_packet_is_asked_for_again(video: Video) -> None:
    video.lose(30)
    video.play(10)
    _, *rest = video.frame(key=True)
    video.send(*rest)
    asked = len(video.asked)
    video.play(30)
    assert video.shown == [*range(1, 10)]
    assert len(video.asked) > asked
    video.play(1, key=True)
    video.play(2)
    assert video.shown[9:] == [video.frames - 2, video.frames - 1]


def test_late_packets_and_duplicates_change_nothing(video: Video) -> None:
    old = video.frame()
    video.send(*old)
    for _ in range(20):
        video.play(1)
        video.send(*old)
    assert video.shown == [*range(1, video.frames)]


def test_a_stream_that_begins_anew_is_followed_from_its_keyframe(video: Video) -> None:
    video.number += 20_000
    video.play(1, key=True)
    first = video.frames
    video.play(3)
    assert video.shown[9:] == [*range(first, video.frames)]


def test_a_viewer_in_the_middle_asks_after_a_moment() -> None:
    """The first keyframe may be under way, so not at once."""
    video = Video()
    video.play(30)
    assert video.shown == []
    assert video.asked[0] >= 100.0 + ASK_S


def test_padding_is_no_frame(video: Video) -> None:
    empty = video.frame()[0]
    video.number -= 2
    empty.payload = empty._data = b""
    video.send(empty)
    video.play(5)
    assert 11 not in video.shown
    assert video.asked == []


def test_what_is_kept_is_bounded(video: Video) -> None:
    """A hole that is never filled, and packets that jump ahead."""
    video.lose(1)
    for _ in range(4 * MAX_AHEAD):
        video.send(video.frame()[0])
    assert len(video.buffer._packets) <= MAX_AHEAD


def test_keyframes_are_known_by_codec() -> None:
    """RFC 7741 and RFC 6184: not a fragment that looks like one."""
    assert is_vp8_keyframe(b"\x10\x50", b"\x50\x9d")
    assert not is_vp8_keyframe(b"\x10\x51", b"\x51\x9d")
    assert not is_vp8_keyframe(b"\x00\x50", b"\x50\x9d"), "not the start of a partition"
    assert not is_vp8_keyframe(b"\x11\x50", b"\x50\x9d"), "of the second partition"
    sps, idr, slice_ = b"\0\0\0\1\x67x", b"\0\0\0\1\x65x", b"\0\0\0\1\x41x"
    assert is_h264_keyframe(b"", sps + idr)
    assert not is_h264_keyframe(b"", slice_ + slice_)
    assert not is_h264_keyframe(b"", b"rest of a fragment" + idr)
