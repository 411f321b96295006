"""`firsthop simulate`: who would be sent elsewhere, and what that costs them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from firsthop.commands.api_client import ApiError, call
from firsthop.commands.options import API_URL, STATE_DIR, ApiUrl, StateDir, Token
from firsthop.commands.process import fail
from firsthop.commands.resources import print_table
from firsthop.document_files import read_document
from firsthop_steering.plan.document import DocumentError

_SHARES = ("before", "after", "utilisation_before", "utilisation_after")
_COLUMNS = ("region", "capacity", *_SHARES)


def simulate(
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A YAML document to suppose; - is stdin.")
    ] = None,
    lose_region: Annotated[
        list[str] | None, typer.Option(help="Suppose that all its relays are down.")
    ] = None,
    lose_relay: Annotated[list[str] | None, typer.Option(help="Suppose that it is down.")] = None,
    clients: Annotated[
        Path | None,
        typer.Option(
            help="A file of addresses and prefixes, one a line; - is stdin. Default: every address."
        ),
    ] = None,
    service: Annotated[str | None, typer.Option(help="Its id or its name; default: each.")] = None,
    api: ApiUrl = API_URL,
    token: Token = None,
    state_dir: StateDir = STATE_DIR,
    as_json: Annotated[bool, typer.Option("--json", help="The whole answer as JSON.")] = False,
) -> None:
    """Say what would become of clients under another document, or without some relays."""
    body: dict[str, Any] = {"lost_regions": lose_region or [], "lost_relays": lose_relay or []}
    try:
        if file is not None:
            body["document"] = read_document(file).model_dump(mode="json")
        if clients is not None:
            body["clients"] = _lines(clients)
        if service is not None:
            body["service"] = service
        answer = call("POST", f"{api}/v1/simulate", token, state_dir, body=body)
    except DocumentError as error:
        lines = "\n".join(f"  {file}: {problem}" for problem in error.problems)
        raise fail(f"simulate: the document cannot be used:\n{lines}") from None
    except (ApiError, OSError, UnicodeDecodeError) as error:
        raise fail(f"simulate: {error}") from None
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    for effect in answer["effects"]:
        tell_effects([effect])
        print_table([_percents(each) for each in effect["regions"]], _COLUMNS)
        for each in effect["countries"]:
            country, part = each["country"] or "unknown", each["of_country"]
            typer.echo(f"{country}: {part:.1%} of its clients move, {each['share']:.1%} of all")


def tell_effects(effects: Sequence[dict[str, Any]]) -> None:
    """Print of each service how many clients move, from where to where, and their round trips."""
    for each in effects:
        before, after = each["rtt_before"], each["rtt_after"]
        typer.echo(f"{each['service']}: {each['moved']:.1%} of clients move")
        for name, field in (("mean", "mean_ms"), ("median", "p50_ms"), ("p95", "p95_ms")):
            typer.echo(f"  round trip, {name:6}  {_ms(before[field])} -> {_ms(after[field])}")
        for move in each["moves"]:
            way = f"{move['source'] or '-'} -> {move['target'] or '-'}"
            typer.echo(f"  {way:20} {move['share']:6.1%}")


def _percents(row: dict[str, Any]) -> dict[str, Any]:
    shares = {name: row[name] for name in _SHARES if row[name] is not None}
    return row | {name: f"{share:.1%}" for name, share in shares.items()}


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _lines(path: Path) -> list[str]:
    """What stands on the lines of a file, without comments (#) and empty lines."""
    text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8-sig")
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]
