"""Calls of the admin API from the command line."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

TIMEOUT_S = 30.0
CHANGE_TIMEOUT_S = 600.0
"""A change of 100,000 records takes a control plane a while, and is better waited for."""


class ApiError(Exception):
    """Why a call failed, in lines for the person at the terminal."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """Of the answer, if there was one."""


def call(
    method: str,
    url: str,
    token: str | None,
    state_dir: Path,
    query: dict[str, str] | None = None,
    *,
    body: Any = None,
    if_match: str | None = None,
) -> Any:
    """The JSON answer; `token` None: the one in `<state_dir>/admin.token`. Raises ApiError."""
    return _exchange(method, url, token, state_dir, query, body, if_match)[0]


def call_for_tag(
    url: str,
    token: str | None,
    state_dir: Path,
    *,
    method: str = "GET",
    query: dict[str, str] | None = None,
    body: Any = None,
    if_match: str | None = None,
) -> tuple[Any, str]:
    """The JSON answer, and its ETag. Raises ApiError."""
    return _exchange(method, url, token, state_dir, query, body, if_match)


def pages(url: str, token: str | None, state_dir: Path) -> list[dict[str, Any]]:
    """All items of a list, page by page. Raises ApiError."""
    items: list[dict[str, Any]] = []
    query: dict[str, str] = {}
    while True:
        page = call("GET", url, token, state_dir, query)
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        query = {"cursor": page["next_cursor"]}


def _exchange(
    method: str,
    url: str,
    token: str | None,
    state_dir: Path,
    query: dict[str, str] | None,
    body: Any,
    if_match: str | None,
) -> tuple[Any, str]:
    if not url.startswith(("http://", "https://")):
        raise ApiError(f"{url} must start with http:// or https://")
    secret = token or _admin_token(state_dir)
    address = f"{url}?{urllib.parse.urlencode(query)}" if query else url
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    if if_match is not None:
        headers["If-Match"] = if_match
    request = urllib.request.Request(  # noqa: S310 - http and https only
        address,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers=headers,
    )
    try:
        timeout = TIMEOUT_S if body is None else CHANGE_TIMEOUT_S
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
            return json.loads(response.read() or b"null"), response.headers.get("ETag", "")
    except urllib.error.HTTPError as error:
        raise ApiError(_detail(error), error.code) from None
    except (OSError, ValueError) as error:
        raise ApiError(f"{url}: {getattr(error, 'reason', None) or error}") from None


def _admin_token(state_dir: Path) -> str:
    path = state_dir / "admin.token"
    try:
        return path.read_text().strip()
    except OSError as error:
        raise ApiError(f"needs FIRSTHOP_TOKEN, or a token in {path}: {error.strerror}") from None


def _detail(error: urllib.error.HTTPError) -> str:
    """A problem document as lines: what, then each field and rule."""
    try:
        problem = json.loads(error.read())
        faults = [f"  {each['field']}: {each['rule']}" for each in problem.get("errors", ())]
        return "\n".join([f"{error.code} {problem['title']}: {problem['detail']}", *faults])
    except (ValueError, KeyError, TypeError, OSError):
        return f"{error.code} {error.reason}"
