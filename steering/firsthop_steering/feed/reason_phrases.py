"""The reason phrase of each HTTP status, for problem documents (RFC 9457 §4.2.1) and OpenAPI."""

from __future__ import annotations

from http import HTTPStatus

_RFC_9110 = {413: "Content Too Large", 422: "Unprocessable Content"}
"""Phrases for which Python up to 3.12 has the older names of RFC 7231 and RFC 4918."""


def reason_phrase(status: int) -> str:
    """The phrase of RFC 9110 §15 or RFC 6585, like `Not Found`.

    Raises ValueError for an unknown status.
    """
    return _RFC_9110.get(status) or HTTPStatus(status).phrase
