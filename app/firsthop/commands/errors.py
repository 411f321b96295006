"""How a command reports that it failed."""

from __future__ import annotations

import typer

from firsthop_zones.visible import visible_lines


def fail(message: str) -> typer.Exit:
    """Prints `message` (one or more lines) on stderr, and returns the exception to raise.

    It may contain text that others chose; control characters in it are printed as escapes.

    The command then ends with status 1.
    """
    typer.echo(f"firsthop: {visible_lines(message)}", err=True)
    return typer.Exit(1)
