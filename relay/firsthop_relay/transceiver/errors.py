"""Why a session is not had: the HTTP status says whose fault it is."""

from __future__ import annotations


class SessionError(Exception):
    """A request about a session that is refused; `detail` is a sentence for its sender."""

    def __init__(self, status: int, detail: str, kind: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.kind = kind
        """A word for counters and for the problem's type."""
