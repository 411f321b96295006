"""`firsthop measurements`: removes round trips that were reported, and what they taught."""

from __future__ import annotations

from typing import Annotated

import typer

from firsthop.commands.admin_api import AdminApi, calls_api

app = typer.Typer(help="Round trips that machines and browsers report.", no_args_is_help=True)


@app.callback()
def measurements() -> None:
    """Keeps `forget` a command of its own."""


@app.command("forget")
@calls_api
def forget(
    api: AdminApi,
    token: Annotated[
        str | None, typer.Option(help="Id or name of the token that sent them.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="browser, allocator, transceiver, agent, operator or unknown."),
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(help="Network of clients, such as 192.0.2.0/24.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Arrived then or later: 2026-11-24T08:00:00Z.")
    ] = None,
) -> None:
    """Remove the reports that have all given properties; answers follow within a minute."""
    given = {"token": token, "source": source, "prefix": prefix, "since": since}
    body = {name: value for name, value in given.items() if value is not None}
    found = api.call("POST", "measurements/forget", body=body)
    typer.echo(f"forgot {found['reports']} reports")
