"""`firsthop explain`: why a client gets the answer that it gets."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from firsthop.commands.admin_api import AdminApi, ApiError, calls_api
from firsthop.commands.errors import fail, warn_of_geodata


@calls_api
def explain(
    service: Annotated[str, typer.Argument(help="Id or name of the service.")],
    client: Annotated[str, typer.Argument(help="Address or prefix of the client.")],
    api: AdminApi,
    vantage: Annotated[
        str | None,
        typer.Option(help="Vantage of the edge that answers; used if the service's view is local."),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(help="ipv4 or ipv6: the addresses it asks for; default: the client's own."),
    ] = None,
    want: Annotated[
        str | None,
        typer.Option(help="Region: also show which changes would send the client there."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(help="Past time (RFC 3339), or number of a revision, to explain."),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Accepted as in other commands; the output is always JSON."),
    ] = False,
) -> None:
    """Explain which region a client is sent to, and why each other region is not chosen."""
    wanted = {"vantage": vantage, "family": family, "want": want, "at": at}
    query = {"service": service, "client": client}
    query |= {name: value for name, value in wanted.items() if value is not None}
    try:
        answer = api.call("GET", "explain", query)
    except ApiError as error:
        raise fail(f"explain: {error}") from None
    warn_of_geodata(answer)
    typer.echo(json.dumps(answer, indent=2))
