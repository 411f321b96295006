"""`firsthop explain`: why a client is answered as it is."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from firsthop.commands.api_client import ApiError, call
from firsthop.commands.options import API_URL, STATE_DIR, ApiUrl, StateDir, Token
from firsthop.commands.process import fail


def explain(
    service: Annotated[str, typer.Argument(help="Its id or its name.")],
    client: Annotated[str, typer.Argument(help="An address or a prefix.")],
    vantage: Annotated[
        str | None, typer.Option(help="Place of the edge that answers, where views are local.")
    ] = None,
    want: Annotated[
        str | None, typer.Option(help="A region: say what would put the client there.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="A past time (RFC 3339), or a revision's number.")
    ] = None,
    api: ApiUrl = API_URL,
    token: Token = None,
    state_dir: StateDir = STATE_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="The whole answer as JSON.")] = False,
) -> None:
    """Say which region answers a client, with every region's numbers and its fate."""
    query = {"service": service, "client": client}
    if vantage is not None:
        query["vantage"] = vantage
    if want is not None:
        query["want"] = want
    if at is not None:
        query["at"] = at
    try:
        answer = call("GET", f"{api}/v1/explain", token, state_dir, query)
    except ApiError as error:
        raise fail(f"explain: {error}") from None
    typer.echo(json.dumps(answer, indent=2))
