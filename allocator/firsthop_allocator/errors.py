"""The package's errors: `AllocatorError` is for the operator, `Problem` for the caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from firsthop_steering.feed.reason_phrases import reason_phrase

TYPE_PREFIX = "urn:firsthop:problem:"
_KINDS = {400: "malformed", 422: "invalid"}
"""Last parts of problem types by status, the same as the control plane's."""
_FORMER_PHRASES = {413: "request-entity-too-large", 422: "unprocessable-entity"}
"""Last parts of problem types whose status phrase RFC 9110 renamed; callers may depend on them."""
MAX_FIELD = 100
"""Most characters of a field's name in a problem: an unknown name is text from the caller."""


class AllocatorError(ValueError):
    """A setting that cannot be used."""


@dataclass(frozen=True, slots=True)
class RequestFault:
    """One thing that is wrong with a request: where, and the rule that it breaks."""

    field: str
    rule: str


@dataclass(eq=False)
class Problem(Exception):  # noqa: N818 - the RFC's word
    """A problem detail (RFC 9457) for the caller; `detail` is a sentence."""

    status: int
    detail: str
    faults: tuple[RequestFault, ...] = ()
    kind: str = ""
    """Last part of its type; if empty, it is made from the status's phrase."""
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_json(self, request_id: str) -> dict[str, object]:
        """The body; it has `errors` if fields are at fault."""
        title = reason_phrase(self.status)
        document: dict[str, object] = {
            "type": TYPE_PREFIX + (self.kind or _phrase_kind(self.status)),
            "title": title,
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
        }
        if self.faults:
            document["errors"] = [
                {"field": fault.field[:MAX_FIELD], "rule": fault.rule} for fault in self.faults
            ]
        return document


def wrong(status: int, *faults: RequestFault, kind: str = "") -> Problem:
    """A problem whose detail lists its faults."""
    detail = "; ".join(f"{fault.field[:MAX_FIELD]}: {fault.rule}" for fault in faults)
    return Problem(status, detail, faults, kind or _KINDS.get(status, ""))


def unreadable(detail: str) -> Problem:
    """A problem with status 400 that names no field."""
    return Problem(400, detail, kind=_KINDS[400])


def _phrase_kind(status: int) -> str:
    return _FORMER_PHRASES.get(status) or reason_phrase(status).lower().replace(" ", "-")
