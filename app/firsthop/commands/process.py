"""A process that cannot start says why in one line; texts of options that several commands have."""

from __future__ import annotations

from pathlib import Path

import typer

from firsthop.commands.options import items


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
