"""`firsthop status`: the state of every relay and transceiver."""

from __future__ import annotations

import typer

from firsthop.commands.admin_api import AdminApi, calls_api
from firsthop.commands.resources import print_table
from firsthop_zones.visible import visible

COLUMNS = ("verdict", "since", "draining", "sessions", "load", "reason")


@calls_api
def status(api: AdminApi) -> None:
    """Show each relay, and each transceiver that reports: verdict, since when, load and reason."""
    body = api.call("GET", "status")
    for kind in ("relay", "transceiver"):
        known = sorted(body[f"{kind}s"].items())
        if known or kind == "relay":
            print_table([{kind: name, **each} for name, each in known], (kind, *COLUMNS))
    for each in body["warnings"]:
        typer.echo(visible(f"warning: {each['field']}: {each['rule']}"), err=True)
    typer.echo(f"status {body['number']} of {body['created_at']}")
