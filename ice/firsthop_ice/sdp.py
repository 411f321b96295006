"""Edits the ICE parts of session descriptions (RFC 8866, RFC 8839, RFC 9143).

Offers are checked and stripped of the client's candidates, answers get the relays' candidates, and
fragments carry ICE restarts. Codecs are left to the transceiver. Invalid text raises `SdpError` and
nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from firsthop_ice.sdp_sections import (
    bundled,
    is_bundle_only,
    is_rejected,
    split_sections,
    value_of,
)

MAX_LENGTH = 64 * 1024
"""Characters of an offer; Chromium's with audio, video and a data channel has 7,000."""
MAX_SECTIONS = 16
"""Media sections; a call has fewer."""
MEDIA_TYPE = "application/sdp"
FRAGMENT_TYPE = "application/trickle-ice-sdpfrag"

_CLIENTS_OWN = ("a=candidate:", "a=end-of-candidates", "a=remote-candidates:")
_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}", re.ASCII)
_PASSWORD = re.compile(r"[A-Za-z0-9+/]{22,256}", re.ASCII)
_MEDIA = re.compile(
    r"m=(audio|video|application) [0-9]{1,5} [A-Z/]{3,32} [!-~]{1,32}( [!-~]{1,32}){0,99}"
)
_DIGESTS = {"sha-256": 32, "sha-384": 48, "sha-512": 64}
"""Octets of the digests of certificates that are verified (RFC 8122 §5), by name."""
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
    session, *sections = split_sections(lines)
    if not sections:
        raise SdpError("offers no media section")
    if len(sections) > MAX_SECTIONS:
        raise SdpError(f"has more than {MAX_SECTIONS} media sections")
    if "a=ice-lite" in session:
        raise SdpError("comes from an ice-lite agent, as is this end: neither would send checks")
    for section in sections:
        if not _MEDIA.fullmatch(section[0]):
            raise SdpError("has a media section that is not audio, video or application")
    live = [section for section in sections if not is_rejected(section, session)]
    if not live:
        raise SdpError("offers no media section whose port is not 0 (RFC 3264 §5.1)")
    _check_bundle(session, sections, live)
    for section in live:
        _check_section(section, session)
    tagged = [*live[0], *session]
    _credential(tagged)
    _check_fingerprint(tagged)
    return _text(line for line in lines if not line.startswith(_CLIENTS_OWN))


def answer_with(text: str, candidates: Sequence[str]) -> str:
    """A transceiver's answer with its candidates replaced by `candidates` (without `a=`).

    They are put into the first section that is not rejected, the answerer-tagged one of the bundle
    (RFC 9143 §7.3), and `a=ice-lite` into the session part (RFC 8839 §5.3). Raises SdpError.
    """
    kept = [line for line in _lines(text) if not line.startswith((*_CLIENTS_OWN, "a=ice-lite"))]
    session, *sections = split_sections(kept)
    tagged = next((each for each in sections if not is_rejected(each, session)), None)
    if tagged is None:
        raise SdpError("answers no media section")
    tagged += [*(f"a={each}" for each in candidates), "a=end-of-candidates"]
    return _text([*session, "a=ice-lite", *(line for section in sections for line in section)])


def read_fragment(text: str) -> Fragment:
    """Parses the fragment of a client's ICE restart. Raises SdpError."""
    session, *sections = split_sections(_lines(text, first=""))
    tagged = [*(sections[0] if sections else []), *session]
    ufrag, password = _credential(tagged)
    media = next((line for line in tagged if _MEDIA.fullmatch(line)), "")
    mid = value_of(tagged, "a=mid:")
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
    # Blanks at the end of a line have no meaning, and some clients send them.
    lines = [line.rstrip(" \t") for line in re.split(r"\r?\n", text) if line]
    if not lines or (first and lines[0] != first):
        raise SdpError("must begin with v=0 (RFC 8866 §5)" if first else "is empty")
    for line in lines:
        if line[1:2] != "=" or not line[0].islower() or not line.replace("\t", " ").isprintable():
            raise SdpError("has a line that is not TYPE=VALUE (RFC 8866 §5)")
    return lines


def _check_bundle(session: list[str], sections: list[list[str]], live: list[list[str]]) -> None:
    """All sections must share one transport (RFC 9143; for WHIP RFC 9725 §4.4.1)."""
    mids = [value_of(section, "a=mid:") for section in live]
    known = {value_of(section, "a=mid:") for section in sections}
    group = bundled(session)
    if not group:
        raise SdpError(
            "a=group:BUNDLE is missing: all media must share one port; set the client's bundle "
            "policy to max-bundle (in GStreamer: webrtcbin bundle-policy=max-bundle)"
        )
    named = all(mids) and set(mids) <= set(group) <= known
    if not named or group[0] != mids[0] or len(set(mids)) != len(mids):
        raise SdpError("a=group:BUNDLE must name every section, the first one first")


def _check_section(section: list[str], session: list[str]) -> None:
    both = [*section, *session]
    if "TLS" not in section[0].split(" ")[2] and not value_of(both, "a=fingerprint:"):
        raise SdpError("has media without DTLS, which must be UDP/TLS/RTP/SAVPF (RFC 8827 §6.5)")
    if is_bundle_only(section, session):  # the tagged section's transport attributes count
        return
    if value_of(both, "a=setup:") not in ("actpass", "passive"):
        raise SdpError("a=setup: must be actpass (RFC 8842 §5.2) or passive")
    is_media = not section[0].startswith("m=application")
    if is_media and not {"a=rtcp-mux", "a=rtcp-mux-only"} & set(section):
        raise SdpError("a=rtcp-mux is missing: RTP and RTCP share one port (RFC 8834 §4.5)")


def _check_fingerprint(lines: list[str]) -> None:
    """One must be of a digest that is verified; none may be malformed (RFC 8122 §5)."""
    values = [line.split(":", 1)[1] for line in lines if line.startswith("a=fingerprint:")]
    if not values:
        raise SdpError("has no a=fingerprint: media are encrypted with DTLS")
    digests = [value.lower().partition(" ")[::2] for value in values]
    if not all(re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2})*", octets) for _, octets in digests):
        raise SdpError("a=fingerprint: must be a hash's name and octets in hex (RFC 8122 §5)")
    if not any(len(octets) == 3 * _DIGESTS.get(name, 0) - 1 for name, octets in digests):
        raise SdpError("a=fingerprint: must have a digest by sha-256, sha-384 or sha-512")


def _credential(lines: Sequence[str]) -> tuple[str, str]:
    ufrag, password = value_of(lines, "a=ice-ufrag:"), value_of(lines, "a=ice-pwd:")
    if not _UFRAG.fullmatch(ufrag):
        raise SdpError("a=ice-ufrag: must be 4 to 256 ICE characters (RFC 8839 §5.4)")
    if not _PASSWORD.fullmatch(password):
        raise SdpError("a=ice-pwd: must be 22 to 256 ICE characters (RFC 8839 §5.4)")
    return ufrag, password


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\r\n" for line in lines)
