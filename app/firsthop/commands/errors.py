"""How a command reports that it failed."""

from __future__ import annotations

import typer


def fail(message: str) -> typer.Exit:
    """Prints `message` (one or more lines) on stderr, and returns the exception to raise.

    The command then ends with status 1.
    """
    typer.echo(f"firsthop: {message}", err=True)
    return typer.Exit(1)
