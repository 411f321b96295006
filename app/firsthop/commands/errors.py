"""How a command reports that it failed, or that its output may be wrong."""

from __future__ import annotations

from typing import Any

import typer

from firsthop_zones.visible import visible_lines


def fail(message: str) -> typer.Exit:
    """Prints `message` (one or more lines) on stderr, and returns the exception to raise.

    It may contain text that others chose; control characters in it are printed as escapes.

    The command then ends with status 1.
    """
    typer.echo(f"firsthop: {visible_lines(message)}", err=True)
    return typer.Exit(1)


def warn_of_geodata(answer: dict[str, Any]) -> None:
    """Prints on stderr that edges have other geo data than the control plane, if it says so."""
    if warning := answer.get("geodata", {}).get("warning"):
        typer.echo(visible_lines(f"warning: {warning}"), err=True)
