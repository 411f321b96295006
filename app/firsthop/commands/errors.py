"""How a command reports that it failed."""

from __future__ import annotations

import typer


def fail(message: str) -> typer.Exit:
    """Prints one line on stderr; returns the exception to raise: exit status 1."""
    typer.echo(f"firsthop: {message}", err=True)
    return typer.Exit(1)
