"""`firsthop status`: what is known of every relay and transceiver."""

from __future__ import annotations

import typer

from firsthop.commands.api_client import call
from firsthop.commands.options import API_URL, STATE_DIR, ApiUrl, StateDir, Token
from firsthop.commands.resources import print_table, with_api

COLUMNS = ("verdict", "since", "draining", "sessions", "load", "reason")


def status(api: ApiUrl = API_URL, token: Token = None, state_dir: StateDir = STATE_DIR) -> None:
    """Say of every relay, and transceiver that reports, whether it is up, since when, and why."""

    def tell() -> None:
        answer = call("GET", f"{api}/v1/status", token, state_dir)
        for kind in ("relay", "transceiver"):
            known = sorted(answer[f"{kind}s"].items())
            if known or kind == "relay":
                print_table([{kind: name, **each} for name, each in known], (kind, *COLUMNS))
        for each in answer["warnings"]:
            typer.echo(f"warning: {each['field']}: {each['rule']}", err=True)
        typer.echo(f"status {answer['number']} of {answer['created_at']}")

    with_api(tell)
