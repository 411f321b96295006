"""Refusals of requests about sessions, with their HTTP status."""

from __future__ import annotations


class SessionError(Exception):
    """A refused request about a session; `detail` is a sentence for the caller."""

    def __init__(self, status: int, detail: str, kind: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.kind = kind
        """A word for the counters."""
