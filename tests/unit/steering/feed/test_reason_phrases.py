"""Titles of problem documents are the reason phrases of RFC 9110 and RFC 6585."""

from __future__ import annotations

import pytest

from firsthop_steering.feed.reason_phrases import reason_phrase


@pytest.mark.parametrize(
    ("status", "title"),
    [
        (400, "Bad Request"),
        (404, "Not Found"),
        (409, "Conflict"),
        (412, "Precondition Failed"),
        (413, "Content Too Large"),
        (415, "Unsupported Media Type"),
        (422, "Unprocessable Content"),
        (428, "Precondition Required"),
        (429, "Too Many Requests"),
        (503, "Service Unavailable"),
    ],
)
def test_titles_are_the_phrases_of_the_rfc_under_every_python(status: int, title: str) -> None:
    """413 and 422 were renamed by RFC 9110; what callers read does not depend on our Python."""
    assert reason_phrase(status) == title
