"""Answers of a session to offers as browsers, GStreamer and strict JSEP stacks make them."""

from __future__ import annotations

import pytest

from firsthop_ice.sdp import answer_with, stripped_offer
from firsthop_relay.transceiver.counts import TransceiverCounters
from firsthop_relay.transceiver.errors import SessionError
from firsthop_relay.transceiver.port import MediaPort
from firsthop_relay.transceiver.session import Session

DIGEST = ":".join(["8B"] * 32)
TRANSPORT = [
    "a=ice-ufrag:M/nJ",
    "a=ice-pwd:9TLg1cdzcZCBmt3dBE//lzkA",
    f"a=fingerprint:sha-256 {DIGEST}",
    "a=setup:actpass",
]
AUDIO = [
    "m=audio 9 UDP/TLS/RTP/SAVPF 111 0",
    "c=IN IP4 0.0.0.0",
    *TRANSPORT,
    "a=mid:0",
    "a=sendrecv",
    "a=rtcp-mux",
    "a=rtpmap:111 opus/48000/2",
    "a=fmtp:111 minptime=10;useinbandfec=1",
]
VIDEO = ["a=mid:1", "a=sendrecv", "a=rtpmap:96 VP8/90000", "a=rtcp-fb:96 nack pli"]
DATA = ["a=mid:2", "a=sctp-port:5000", "a=max-message-size:262144"]
CANDIDATE = "candidate:1 1 udp 2130706431 192.0.2.1 3478 typ host"


def session(*mids: str) -> list[str]:
    return ["v=0", "o=- 1 2 IN IP4 127.0.0.1", "s=-", "t=0 0", f"a=group:BUNDLE {' '.join(mids)}"]


async def answered(*parts: list[str]) -> list[str]:
    """The lines of the answer, on its way to the client."""
    offer = "".join(f"{line}\r\n" for part in parts for line in part)
    here = Session(MediaPort(TransceiverCounters()), "u" * 31, "p" * 32)
    try:
        answer = await here.answer(stripped_offer(offer), lambda: None)
    finally:
        await here.close()
    return answer_with(answer, [CANDIDATE]).split("\r\n")


def media(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("m=")]


async def test_bundle_only_sections_share_the_first_ones_transport() -> None:
    """A strict JSEP offer: port 0 and no transport attributes (RFC 9143 §7.1.3)."""
    video = ["m=video 0 UDP/TLS/RTP/SAVPF 96", "c=IN IP4 0.0.0.0", *VIDEO, "a=bundle-only"]
    data = ["m=application 0 UDP/DTLS/SCTP webrtc-datachannel", *DATA, "a=bundle-only"]
    answer = await answered(session("0", "1", "2"), AUDIO, video, data)
    assert media(answer) == [
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 0",
        "m=video 9 UDP/TLS/RTP/SAVPF 96",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    ]
    assert "a=group:BUNDLE 0 1 2" in answer
    assert answer.count("a=sendrecv") == 2


@pytest.mark.parametrize("named", [("0", "1", "2"), ("0", "2")])
async def test_a_rejected_section_is_answered_with_port_0(named: tuple[str, ...]) -> None:
    """RFC 3264 §6, in the BUNDLE group or not; the answer's group does not name it."""
    video = ["m=video 0 UDP/TLS/RTP/SAVPF 96", *TRANSPORT, *VIDEO, "a=rtcp-mux"]
    data = ["m=application 9 UDP/DTLS/SCTP webrtc-datachannel", *TRANSPORT, *DATA]
    answer = await answered(session(*named), AUDIO, video, data)
    assert media(answer) == [
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 0",
        "m=video 0 UDP/TLS/RTP/SAVPF 96",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    ]
    assert "a=group:BUNDLE 0 2" in answer


async def test_a_first_section_that_is_rejected_keeps_its_place() -> None:
    """The candidates go to the section that carries the transport."""
    audio = [line.replace("m=audio 9", "m=audio 0") for line in AUDIO]
    data = ["m=application 9 UDP/DTLS/SCTP webrtc-datachannel", *TRANSPORT, *DATA]
    answer = await answered(session("2"), audio, data)
    assert [line.split()[1] for line in media(answer)] == ["0", "9"]
    assert answer.index(f"a={CANDIDATE}") > answer.index(media(answer)[1])


async def test_a_format_without_description_is_left_out() -> None:
    """Opus without its rtpmap: the other formats are answered, and parameters do no harm."""
    audio = [line for line in AUDIO if not line.startswith("a=rtpmap")]
    assert media(await answered(session("0"), audio)) == ["m=audio 9 UDP/TLS/RTP/SAVPF 0"]


@pytest.mark.parametrize("mux", ["a=rtcp-mux-only", "a=rtcp-mux "])
async def test_rtcp_is_multiplexed_however_it_is_written(mux: str) -> None:
    audio = [mux if line == "a=rtcp-mux" else line for line in AUDIO]
    assert "a=rtcp-mux" in await answered(session("0"), audio)


async def test_an_answer_has_the_offers_profile() -> None:
    """RFC 8829 §5.1.2."""
    audio = [line.replace("UDP/TLS/RTP/SAVPF", "RTP/SAVPF") for line in AUDIO]
    assert media(await answered(session("0"), audio)) == ["m=audio 9 RTP/SAVPF 111 0"]


@pytest.mark.parametrize("line", ["a=rtpmap:111 FOO/48000", "a=rtpmap:111 opus"])
async def test_a_refusal_has_words_of_ours(line: str) -> None:
    """Which codecs there are, and no exception of a library."""
    audio = [each for each in AUDIO if "111" not in each]
    with pytest.raises(SessionError, match="audio must be Opus") as refused:
        await answered(session("0"), ["m=audio 9 UDP/TLS/RTP/SAVPF 111", *audio[0:], line])
    assert refused.value.status == 422
