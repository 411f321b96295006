"""`firsthop keys`: the generations of credential keys; no secret passes here."""

from __future__ import annotations

import typer

from firsthop.commands.api_client import call, pages
from firsthop.commands.options import API_URL, STATE_DIR, ApiUrl, StateDir, Token
from firsthop.commands.resources import print_table, with_api

COLUMNS = ("id", "signing", "created_at")

app = typer.Typer(help="Keys of ICE credentials.", no_args_is_help=True)


@app.command("list")
def list_(api: ApiUrl = API_URL, token: Token = None, state_dir: StateDir = STATE_DIR) -> None:
    """List the keys that credentials are accepted under."""
    with_api(lambda: print_table(pages(f"{api}/v1/keys", token, state_dir), COLUMNS))


@app.command("rotate")
def rotate(api: ApiUrl = API_URL, token: Token = None, state_dir: StateDir = STATE_DIR) -> None:
    """Sign new credentials with a new key; those of the others are still accepted."""

    def make() -> None:
        made = call("POST", f"{api}/v1/keys", token, state_dir, body={})
        typer.echo(f"key {made['id']} signs now")

    with_api(make)
