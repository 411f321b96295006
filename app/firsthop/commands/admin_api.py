"""Calls of the admin API from the command line, and the options for its address and token."""

from __future__ import annotations

import functools
import inspect
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from firsthop.commands.errors import fail
from firsthop.commands.options import STATE_DIR

TIMEOUT_S = 30.0
CHANGE_TIMEOUT_S = 600.0
"""Timeout of a change; one of 100,000 records takes a control plane much longer than a read."""

Force = Annotated[
    bool,
    typer.Option("--force", help="Apply it even if it moves more clients than the guard allows."),
]
_Url = Annotated[
    str, typer.Option("--api", envvar="FIRSTHOP_API_URL", help="URL of the control plane.")
]
_Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="FIRSTHOP_TOKEN",
        help="Bearer token; default: admin.token in --state-dir.",
    ),
]
_StateDir = Annotated[
    Path,
    typer.Option("--state-dir", envvar="FIRSTHOP_STATE_DIR", help="Folder that holds admin.token."),
]


class ApiError(Exception):
    """A failed call; the message is for people and may have several lines."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        """Status code of the answer; None if there was no answer."""


@dataclass(frozen=True, slots=True)
class AdminApi:
    """One control plane's API; paths are relative to `/v1/`."""

    url: str
    token: str | None
    state_dir: Path

    def call(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        *,
        body: Any = None,
        if_match: str | None = None,
    ) -> Any:
        """The JSON answer. Raises ApiError."""
        return self.call_for_tag(method, path, query, body=body, if_match=if_match)[0]

    def pages(self, path: str) -> list[dict[str, Any]]:
        """All items of a list, page by page. Raises ApiError."""
        items: list[dict[str, Any]] = []
        query: dict[str, str] = {}
        while True:
            page = self.call("GET", path, query)
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            query = {"cursor": page["next_cursor"]}

    def call_for_tag(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        *,
        body: Any = None,
        if_match: str | None = None,
    ) -> tuple[Any, str]:
        """The JSON answer, and its ETag. Raises ApiError."""
        url = f"{self.url}/v1/{path}"
        if not url.startswith(("http://", "https://")):
            raise ApiError(f"{url} must start with http:// or https://")
        headers = {"Authorization": f"Bearer {self._secret()}", "Content-Type": "application/json"}
        if if_match is not None:
            headers["If-Match"] = if_match
        request = urllib.request.Request(  # noqa: S310 - http and https only
            f"{url}?{urllib.parse.urlencode(query)}" if query else url,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers=headers,
        )
        try:
            timeout = TIMEOUT_S if body is None else CHANGE_TIMEOUT_S
            with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310
                return json.loads(response.read() or b"null"), response.headers.get("ETag", "")
        except urllib.error.HTTPError as error:
            raise ApiError(_problem(error), error.code) from None
        except (OSError, ValueError) as error:
            raise ApiError(f"{url}: {getattr(error, 'reason', None) or error}") from None

    def _secret(self) -> str:
        if self.token:
            return self.token
        path = self.state_dir / "admin.token"
        try:
            return path.read_text().strip()
        except OSError as error:
            rule = f"needs FIRSTHOP_TOKEN, or a token in {path}: {error.strerror}"
            raise ApiError(rule) from None


def calls_api(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameter `api` is made from the options --api, --token and --state-dir.

    If it raises ApiError, the message (one or more lines) is printed on stderr and the exit status
    is 1. A command may have a parameter `token` of its own; the bearer token is then read from the
    environment or the state folder only.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [each for each in signature.parameters.values() if each.name != "api"]
    names = {each.name for each in own}

    @functools.wraps(command)
    def with_options(*, api: str, state_dir: Path, **options: Any) -> None:
        bearer = os.environ.get("FIRSTHOP_TOKEN") if "token" in names else options.pop("token")
        try:
            command(api=AdminApi(api, bearer, state_dir), **options)
        except ApiError as error:
            raise fail(str(error)) from None

    common = inspect.signature(_options, eval_str=True).parameters.values()
    parameters = [*own, *(each for each in common if each.name not in names)]
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    # Typer reads the options of a command from its signature.
    with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return with_options


def _options(
    *, api: _Url = "http://127.0.0.1:8080", token: _Token = None, state_dir: _StateDir = STATE_DIR
) -> None:
    """Never called; its signature holds the options that `calls_api` adds."""


def _problem(error: urllib.error.HTTPError) -> str:
    """A problem document (RFC 9457) as text: title, detail, and one line per field and rule."""
    try:
        problem = json.loads(error.read())
        faults = [f"  {each['field']}: {each['rule']}" for each in problem.get("errors", ())]
        return "\n".join([f"{error.code} {problem['title']}: {problem['detail']}", *faults])
    except (ValueError, KeyError, TypeError, OSError):
        return f"{error.code} {error.reason}"
