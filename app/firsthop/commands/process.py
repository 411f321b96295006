"""One asyncio service as a process: quick, clean ends on signals, one line on a bad start."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path

import typer

from firsthop.commands.options import items


def run_until_signal(service: Coroutine[None, None, None]) -> None:
    """Run `service` to its end, or cancel it on SIGTERM or SIGINT and return normally."""
    asyncio.run(_cancelled_by_signals(service))


async def _cancelled_by_signals(service: Coroutine[None, None, None]) -> None:
    task = asyncio.ensure_future(service)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


def fail(message: str) -> typer.Exit:
    """Say one line on stderr; raise what this gives: exit status 1."""
    typer.echo(f"firsthop: {message}", err=True)
    return typer.Exit(1)


def http_url(value: str) -> str:
    """Refuse what no HTTP client can reach."""
    if not value.startswith(("http://", "https://")):
        raise typer.BadParameter(f"{value!r} must start with http:// or https://")
    return value


def http_urls(value: str) -> str:
    """The same for every URL of a comma list, and refuse an empty one."""
    urls = items(value)
    for url in urls:
        http_url(url)
    if not urls:
        raise typer.BadParameter("needs at least one URL")
    return value


def bearer_token(token: str | None, token_file: Path | None) -> str:
    """The token itself, or the first line of its file; BadParameter when there is neither."""
    if token_file is not None:
        try:
            token = token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"token file {token_file}: {error}") from error
    if not token or not token.isprintable() or not token.isascii():
        raise typer.BadParameter("needs FIRSTHOP_TOKEN or --token-file with a bearer token")
    return token
