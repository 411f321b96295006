"""`firsthop keys`: lists and rotates the credential keys; never shows their secrets."""

from __future__ import annotations

import typer

from firsthop.commands.admin_api import AdminApi, calls_api
from firsthop.commands.resources import print_table

COLUMNS = ("id", "signing", "created_at")

app = typer.Typer(help="Keys that sign ICE credentials.", no_args_is_help=True)


@app.command("list")
@calls_api
def list_(api: AdminApi) -> None:
    """List the keys: one signs new credentials; credentials signed by the others are accepted."""
    print_table(api.pages("keys"), COLUMNS)


@app.command("rotate")
@calls_api
def rotate(api: AdminApi) -> None:
    """Create a key that signs new credentials; those signed by older keys are still accepted."""
    made = api.call("POST", "keys", body={})
    typer.echo(f"key {made['id']} now signs new credentials")
