"""The media sections of descriptions: which are offered, and how rejected ones are answered.

Some libraries answer rejected and bundle-only sections, or formats without a description, wrongly
or not at all. `answerable` turns an offer into one without them; `completed` turns its answer into
one to the original offer. Text that is not SDP is a matter of `sdp`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_BUNDLE = "a=group:BUNDLE"
_TRANSPORT = ("a=ice-ufrag:", "a=ice-pwd:", "a=ice-options:", "a=fingerprint:", "a=setup:")
"""Attributes that a bundle-only section leaves out: the tagged one has them (RFC 9143 §7.1.3)."""
_OF_FORMAT = re.compile(r"a=(?:fmtp|rtcp-fb):([0-9]+) ", re.ASCII)
_STATIC_FORMATS = {"0": "PCMU/8000", "8": "PCMA/8000", "9": "G722/8000"}
"""Descriptions that an offer need not have (RFC 3551 §6): those of formats that are in use."""


def split_sections(lines: Iterable[str]) -> list[list[str]]:
    """The lines of the session part, then those of each media section."""
    sections: list[list[str]] = [[]]
    for line in lines:
        if line.startswith("m="):
            sections.append([])
        sections[-1].append(line)
    return sections


def value_of(lines: Iterable[str], prefix: str) -> str:
    """What follows `prefix` in the first line that has it; "" if none has."""
    return next((line[len(prefix) :] for line in lines if line.startswith(prefix)), "")


def bundled(session: Iterable[str]) -> list[str]:
    """The mids of the BUNDLE group, in order."""
    return value_of(session, _BUNDLE).split()


def is_bundle_only(section: Sequence[str], session: Iterable[str]) -> bool:
    """Whether a section has port 0 because it uses the transport of its BUNDLE group (RFC 9143
    §7.1.3)."""
    return "a=bundle-only" in section and value_of(section, "a=mid:") in bundled(session)


def is_rejected(section: Sequence[str], session: Iterable[str]) -> bool:
    """Whether a section is not offered, or not accepted (RFC 3264 §5.1, §6): its port is 0."""
    return _media(section)[1] == "0" and not is_bundle_only(section, session)


def answerable(offer: str) -> str:
    """The offer without rejected sections; bundle-only sections have the transport attributes of
    the tagged section. Formats without a description have that of RFC 3551, or are left out."""
    session, *sections = split_sections(offer.splitlines())
    live = [section for section in sections if not is_rejected(section, session)]
    mids = " ".join(value_of(section, "a=mid:") for section in live)
    kept = [f"{_BUNDLE} {mids}" if line.startswith(_BUNDLE) else line for line in session]
    transport = [line for line in live[0] if line.startswith(_TRANSPORT)]
    parts = [kept, *(_plain(section, transport, session) for section in live)]
    return _text(line for part in parts for line in part)


def completed(answer: str, offer: str) -> str:
    """The answer to `offer`, from the answer to `answerable(offer)`: it has the offer's sections in
    their order and with their protocols (RFC 3264 §6); rejected ones have port 0."""
    offered_session, *offered = split_sections(offer.splitlines())
    session, *answered = split_sections(answer.splitlines())
    left = iter(answered)
    parts = [session]
    for section in offered:
        if is_rejected(section, offered_session):
            parts.append(_rejection(section))
        else:
            own = next(left)
            parts.append([_with_protocol(own[0], _media(section)[2]), *own[1:]])
    return _text(line for part in parts for line in part)


def _media(section: Sequence[str]) -> list[str]:
    """Kind, port, protocol and formats of the m= line."""
    return section[0].removeprefix("m=").split(" ")


def _plain(section: list[str], transport: list[str], session: list[str]) -> list[str]:
    kind, port, protocol, *formats = _media(section)
    if is_bundle_only(section, session):
        port = "9"
        names = tuple(line.split(":")[0] + ":" for line in section)
        section = [*section, *(line for line in transport if line.split(":")[0] + ":" not in names)]
    lines = [line for line in section[1:] if line not in ("a=bundle-only", "a=rtcp-mux")]
    if kind != "application":
        known = [each for each in formats if value_of(lines, f"a=rtpmap:{each} ")]
        added = [each for each in formats if each in _STATIC_FORMATS and each not in known]
        formats = [each for each in formats if each in (*known, *added)]
        lines = [line for line in lines if not _is_of_other(line, formats)]
        lines += [f"a=rtpmap:{each} {_STATIC_FORMATS[each]}" for each in added] + ["a=rtcp-mux"]
    return [f"m={kind} {port} {protocol} {' '.join(formats)}", *lines]


def _is_of_other(line: str, formats: list[str]) -> bool:
    """Whether a line has parameters of a format that is not among `formats`."""
    found = _OF_FORMAT.match(line)
    return found is not None and found[1] not in formats


def _rejection(section: list[str]) -> list[str]:
    kind, _, *rest = _media(section)
    mid = [line for line in section if line.startswith("a=mid:")]
    return [f"m={kind} 0 {' '.join(rest)}", "c=IN IP4 0.0.0.0", *mid, "a=inactive"]


def _with_protocol(media: str, protocol: str) -> str:
    kind, port, _, *formats = media.split(" ")
    return " ".join([kind, port, protocol, *formats])


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\r\n" for line in lines)
