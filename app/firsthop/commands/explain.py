"""`firsthop explain`: why a client is answered as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from firsthop.commands.api_client import ApiError, call
from firsthop.commands.options import StateDir


def explain(
    service: Annotated[str, typer.Argument(help="Its id or its name.")],
    client: Annotated[str, typer.Argument(help="An address or a prefix.")],
    api: Annotated[str, typer.Option(envvar="FIRSTHOP_API_URL")] = "http://127.0.0.1:8080",
    token: Annotated[str | None, typer.Option(envvar="FIRSTHOP_TOKEN")] = None,
    state_dir: StateDir = Path(".firsthop"),
    as_json: Annotated[bool, typer.Option("--json", help="The whole answer as JSON.")] = False,
) -> None:
    """Say which region answers a client, with every region's numbers and its fate."""
    try:
        said = call(
            "GET", f"{api}/v1/explain", token, state_dir, {"service": service, "client": client}
        )
    except ApiError as error:
        typer.echo(f"firsthop explain: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(json.dumps(said, indent=2))
