"""The package's errors: `AllocatorError` is the operator's, `Problem` goes to the caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

MAX_FIELD = 100
"""Characters of a field's name in a problem: an unknown key is the caller's own text."""


class AllocatorError(ValueError):
    """A setting that cannot be used."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request: where, and the rule that it breaks."""

    field: str
    rule: str


@dataclass(eq=False)
class Problem(Exception):  # noqa: N818 - the RFC's word
    """A problem detail (RFC 9457) on its way to the caller; `detail` is a sentence."""

    status: int
    detail: str
    faults: tuple[Fault, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_json(self, request_id: str) -> dict[str, object]:
        """The body; `type` is about:blank, so the status says what kind it is (§4.2.1)."""
        return {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "errors": [
                {"field": fault.field[:MAX_FIELD], "rule": fault.rule} for fault in self.faults
            ],
            "request_id": request_id,
        }


def wrong(status: int, *faults: Fault) -> Problem:
    """A problem whose detail is its faults."""
    return Problem(status, "; ".join(f"{f.field[:MAX_FIELD]}: {f.rule}" for f in faults), faults)
