"""Edits the ICE parts of session descriptions (RFC 8866, RFC 8839, RFC 9143).

Offers are checked and stripped of the client's candidates, answers get the relays' candidates, and
fragments carry ICE restarts. Codecs are left to the transceiver. Invalid text raises `SdpError` and
nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_LENGTH = 64 * 1024
"""Characters of an offer; Chromium's with audio, video and a data channel has 7,000."""
MAX_SECTIONS = 16
"""Media sections; a call has fewer."""
MEDIA_TYPE = "application/sdp"
FRAGMENT_TYPE = "application/trickle-ice-sdpfrag"

_CLIENTS_OWN = ("a=candidate:", "a=end-of-candidates", "a=remote-candidates:")
_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}", re.ASCII)
_PASSWORD = re.compile(r"[A-Za-z0-9+/]{22,256}", re.ASCII)
_MEDIA = re.compile(r"m=(audio|video|application) [0-9]{1,5} [A-Z/]{3,32} [!-~ ]{1,400}")
_MID = re.compile(r"[!-~]{1,32}", re.ASCII)


class SdpError(ValueError):
    """A description is refused; the message names the violated rule."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """A client's ICE restart (RFC 8840 §9): its credential and its first media section."""

    ufrag: str
    password: str
    media: str
    """The m= line of the offerer-tagged section."""
    mid: str


def stripped_offer(text: str) -> str:
    """The offer without the client's candidates, with CRLF line ends. Raises SdpError.

    With a client's candidate, a full ICE agent could send media without the relay.
    """
    lines = _lines(text)
    session, *sections = _sections(lines)
    if not sections:
        raise SdpError("offers no media section")
    if len(sections) > MAX_SECTIONS:
        raise SdpError(f"has more than {MAX_SECTIONS} media sections")
    if "a=ice-lite" in session:
        raise SdpError("comes from an ice-lite agent, as is this end: neither would send checks")
    _check_bundle(session, sections)
    for section in sections:
        if _value([*section, *session], "a=setup:") not in ("actpass", "passive"):
            raise SdpError("a=setup: must be actpass (RFC 8842 §5.2) or passive")
    tagged = [*sections[0], *session]
    _credential(tagged)
    if not _value(tagged, "a=fingerprint:"):
        raise SdpError("has no a=fingerprint: media are encrypted with DTLS")
    return _text(line for line in lines if not line.startswith(_CLIENTS_OWN))


def answer_with(text: str, candidates: Sequence[str]) -> str:
    """A transceiver's answer with its candidates replaced by `candidates` (without `a=`).

    They are put into the first section, the answerer-tagged one of the bundle (RFC 9143 §7.3), and
    `a=ice-lite` into the session part (RFC 8839 §5.3). Raises SdpError.
    """
    kept = [line for line in _lines(text) if not line.startswith((*_CLIENTS_OWN, "a=ice-lite"))]
    session, *sections = _sections(kept)
    if not sections:
        raise SdpError("answers no media section")
    first, *others = sections
    offered = [*(f"a={each}" for each in candidates), "a=end-of-candidates"]
    lite = [*session, "a=ice-lite"]
    return _text([*lite, *first, *offered, *(line for section in others for line in section)])


def read_fragment(text: str) -> Fragment:
    """Parses the fragment of a client's ICE restart. Raises SdpError."""
    session, *sections = _sections(_lines(text, first=""))
    tagged = [*(sections[0] if sections else []), *session]
    ufrag, password = _credential(tagged)
    media = next((line for line in tagged if _MEDIA.fullmatch(line)), "")
    mid = _value(tagged, "a=mid:")
    return Fragment(
        ufrag,
        password,
        media or "m=audio 9 UDP/TLS/RTP/SAVPF 0",
        mid if _MID.fullmatch(mid) else "0",
    )


def write_fragment(ufrag: str, password: str, restart: Fragment) -> str:
    """The answer to `restart`; `fragment_with` adds candidates to it."""
    return _text(
        [restart.media, f"a=mid:{restart.mid}", f"a=ice-ufrag:{ufrag}", f"a=ice-pwd:{password}"]
    )


def fragment_with(text: str, candidates: Sequence[str]) -> str:
    """A fragment with its candidates replaced by `candidates` (without `a=`). Raises SdpError."""
    kept = [line for line in _lines(text, first="") if not line.startswith(_CLIENTS_OWN)]
    offered = [f"a={each}" for each in candidates]
    return _text(["a=ice-lite", *kept, *offered, "a=end-of-candidates"])


def _lines(text: str, *, first: str = "v=0") -> list[str]:
    if len(text) > MAX_LENGTH:
        raise SdpError(f"is longer than {MAX_LENGTH} characters")
    lines = [line for line in re.split(r"\r?\n", text) if line]
    if not lines or (first and lines[0] != first):
        raise SdpError("must begin with v=0 (RFC 8866 §5)" if first else "is empty")
    for line in lines:
        if line[1:2] != "=" or not line[0].islower() or not line.isprintable():
            raise SdpError("has a line that is not TYPE=VALUE (RFC 8866 §5)")
    return lines


def _sections(lines: Iterable[str]) -> list[list[str]]:
    """The lines of the session part, then those of each media section."""
    sections: list[list[str]] = [[]]
    for line in lines:
        if line.startswith("m="):
            sections.append([])
        sections[-1].append(line)
    return sections


def _check_bundle(session: list[str], sections: list[list[str]]) -> None:
    """All sections must share one transport (RFC 8843; for WHIP RFC 9725 §4.4.1)."""
    mids = [_value(section, "a=mid:") for section in sections]
    group = _value(session, "a=group:BUNDLE ").split(" ")
    if not all(mids) or group[0] != mids[0] or set(group) != set(mids) or len(mids) != len(group):
        raise SdpError("a=group:BUNDLE must name every section, the first one first")


def _credential(lines: Sequence[str]) -> tuple[str, str]:
    ufrag, password = _value(lines, "a=ice-ufrag:"), _value(lines, "a=ice-pwd:")
    if not _UFRAG.fullmatch(ufrag):
        raise SdpError("a=ice-ufrag: must be 4 to 256 ICE characters (RFC 8839 §5.4)")
    if not _PASSWORD.fullmatch(password):
        raise SdpError("a=ice-pwd: must be 22 to 256 ICE characters (RFC 8839 §5.4)")
    return ufrag, password


def _value(lines: Iterable[str], prefix: str) -> str:
    return next((line[len(prefix) :] for line in lines if line.startswith(prefix)), "")


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\r\n" for line in lines)
