"""Descriptions on their way: what is taken out, what is put in, and what is not taken at all."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_ice.sdp import (
    MAX_LENGTH,
    SdpError,
    answer_with,
    fragment_with,
    read_fragment,
    stripped_offer,
    write_fragment,
)

DIGEST = ":".join(["AB"] * 32)
SESSION = ["v=0", "o=- 1 2 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0 1"]
ICE = ["a=ice-ufrag:abcd", "a=ice-pwd:0123456789012345678901", f"a=fingerprint:sha-256 {DIGEST}"]
AUDIO = [
    "m=audio 5000 UDP/TLS/RTP/SAVPF 111",
    "c=IN IP4 192.0.2.9",
    "a=mid:0",
    "a=rtcp-mux",
    *ICE,
    "a=setup:actpass",
    "a=candidate:1 1 udp 2122260223 192.0.2.9 5000 typ host",
    "a=end-of-candidates",
]
DATA = [
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "a=mid:1",
    *ICE,
    "a=setup:actpass",
    "a=remote-candidates:1 192.0.2.9 5000",
]
OFFER = [*SESSION, *AUDIO, *DATA]
RELAYS = ("candidate:1 1 udp 2130706431 192.0.2.1 3478 typ host",)


def text(lines: list[str], end: str = "\r\n") -> str:
    return "".join(line + end for line in lines)


def without(lines: list[str], *prefixes: str) -> list[str]:
    return [line for line in lines if not line.startswith(prefixes)]


def changed(lines: list[str], old: str, new: str) -> list[str]:
    return [line.replace(old, new) for line in lines]


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_an_offer_loses_the_clients_candidates_and_nothing_else(end: str) -> None:
    """A candidate left in would let media go around the relay."""
    wanted = without(OFFER, "a=candidate:", "a=end-of-candidates", "a=remote-candidates:")
    assert stripped_offer(text(OFFER, end)) == text(wanted)


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        ([], "v=0"),
        (SESSION, "no media section"),
        (without(OFFER, "v="), "v=0"),
        (without(OFFER, "a=ice-ufrag"), "ice-ufrag"),
        (without(OFFER, "a=ice-pwd"), "ice-pwd"),
        (without(OFFER, "a=fingerprint"), "fingerprint"),
        (without(OFFER, "a=group"), "BUNDLE"),
        (without(OFFER, "a=mid:1"), "BUNDLE"),
        (without(OFFER, "a=setup"), "setup"),
        ([*SESSION, "a=setup:active", *without([*AUDIO, *DATA], "a=setup")], "actpass"),
        ([*SESSION, "a=ice-lite", *AUDIO, *DATA], "ice-lite"),
        ([*without(SESSION, "a=group"), "a=group:BUNDLE 1 0", *AUDIO, *DATA], "first one first"),
        (without(OFFER, "a=rtcp-mux"), "rtcp-mux"),
        (changed(OFFER, DIGEST, "AB"), "digest by sha-256"),
        (changed(OFFER, DIGEST, "none"), "octets in hex"),
        (changed(OFFER, "sha-256", "md5"), "digest by sha-256"),
        (changed(without(OFFER, "a=fingerprint"), "UDP/TLS/RTP", "RTP"), "without DTLS"),
        (changed(OFFER, "m=audio 5000", "m=audio x"), "audio, video or application"),
        (
            changed(
                changed(OFFER, "m=audio 5000", "m=audio 0"), "m=application 9", "m=application 0"
            ),
            "port is not 0",
        ),
        (changed(OFFER, "BUNDLE 0 1", "BUNDLE 0 1 2"), "every section"),
        ([*OFFER, "no line"], "TYPE=VALUE"),
        ([*OFFER, "a=\0"], "TYPE=VALUE"),
        ([*SESSION, *AUDIO, *DATA * 16], "16 media"),
        ([*OFFER, "a=" + "x" * MAX_LENGTH], "longer"),
    ],
)
def test_an_offer_that_cannot_be_answered_is_refused_by_a_rule(lines: list[str], rule: str) -> None:
    """Before a transceiver is asked."""
    with pytest.raises(SdpError, match=rule):
        stripped_offer(text(lines))


def test_clients_without_bundle_are_told_what_to_set() -> None:
    with pytest.raises(SdpError, match="webrtcbin bundle-policy=max-bundle"):
        stripped_offer(text(without(OFFER, "a=group")))


def test_blanks_that_mean_nothing_are_accepted() -> None:
    """At the end of an attribute, and a tab in the session's name."""
    blank = changed(changed(OFFER, "a=rtcp-mux", "a=rtcp-mux "), "s=-", "s=a\tsession")
    assert "a=rtcp-mux\r\n" in stripped_offer(text(blank))


def test_other_profiles_are_accepted_with_dtls() -> None:
    """RFC 8829 §5.1.2; and RTCP on its own port is not offered by `rtcp-mux-only` (RFC 8858)."""
    stripped_offer(text(changed(OFFER, "UDP/TLS/RTP/SAVPF", "RTP/SAVPF")))
    stripped_offer(text(changed(OFFER, "a=rtcp-mux", "a=rtcp-mux-only")))
    stripped_offer(text(changed(OFFER, "sha-256", "SHA-256")))


def test_an_answer_has_the_relays_candidates_and_no_others() -> None:
    """In the first section; and it says that its agent is lite, once, in the session."""
    answer = answer_with(text(["v=0", "s=-", "a=ice-lite", *AUDIO, *DATA]), RELAYS).split("\r\n")
    assert answer.count("a=ice-lite") == 1
    assert answer.index("a=ice-lite") < answer.index(AUDIO[0])
    offered = [line for line in answer if line.startswith("a=candidate:")]
    assert offered == [f"a={RELAYS[0]}"]
    assert answer.index("a=mid:0") < answer.index(offered[0]) < answer.index("a=mid:1")
    assert answer.count("a=end-of-candidates") == 1


def test_candidates_go_to_the_first_section_that_is_not_rejected() -> None:
    rejected = ["m=audio 0 UDP/TLS/RTP/SAVPF 111", "a=mid:9"]
    answer = answer_with(text([*SESSION, *rejected, *DATA]), RELAYS).split("\r\n")
    assert answer.index("a=mid:1") < answer.index(f"a={RELAYS[0]}")


def test_an_answer_without_media_is_none() -> None:
    """A transceiver that says so has failed."""
    with pytest.raises(SdpError, match="no media section"):
        answer_with(text(SESSION), RELAYS)


def test_an_ice_restart_goes_there_and_back() -> None:
    """The section is the client's own, credential and candidates are ours."""
    sent = ["a=ice-ufrag:wxyz", "a=ice-pwd:abcdefghijklmnopqrstuv", "m=audio 9 X/Y 0", "a=mid:7"]
    asked = read_fragment(text([*sent, "a=candidate:1 1 udp 1 192.0.2.9 5000 typ host"]))
    assert (asked.ufrag, asked.password, asked.mid) == ("wxyz", "abcdefghijklmnopqrstuv", "7")
    made = write_fragment("SERVER", "PASSWORD", asked)
    assert fragment_with(made, RELAYS).split("\r\n") == [
        "a=ice-lite",
        "m=audio 9 X/Y 0",
        "a=mid:7",
        "a=ice-ufrag:SERVER",
        "a=ice-pwd:PASSWORD",
        f"a={RELAYS[0]}",
        "a=end-of-candidates",
        "",
    ]


def test_a_fragment_without_a_section_gets_one() -> None:
    """RFC 8840 §9 lets session-level attributes stand alone."""
    asked = read_fragment("a=ice-ufrag:wxyz\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n")
    assert asked.media.startswith("m=audio 9 ")
    assert asked.mid == "0"


@pytest.mark.parametrize("body", ["", "a=ice-ufrag:wxyz\r\n", "a=ice-pwd:abcdefghijklmnopqrstuv"])
def test_a_fragment_without_a_credential_is_refused(body: str) -> None:
    """It restarts nothing."""
    with pytest.raises(SdpError):
        read_fragment(body)


@pytest.mark.fuzz
@given(st.text(max_size=300), st.integers(0, 40))
def test_no_text_raises_anything_else(junk: str, place: int) -> None:
    """Junk alone, and junk in the middle of an offer."""
    for given_ in (junk, text([*OFFER[:place], junk, *OFFER[place:]])):
        for read in (stripped_offer, read_fragment, lambda each: answer_with(each, RELAYS)):
            with contextlib.suppress(SdpError):
                read(given_)
