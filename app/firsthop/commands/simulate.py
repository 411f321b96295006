"""`firsthop simulate`: which clients another configuration would move, and their round trips."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from firsthop.commands.admin_api import AdminApi, ApiError, calls_api
from firsthop.commands.errors import fail, warn_of_geodata
from firsthop.commands.resources import print_table
from firsthop.document_files import read_document
from firsthop_steering.plan.document import DocumentError

_SHARES = ("before", "after", "utilisation_before", "utilisation_after")
_COLUMNS = ("region", "capacity", *_SHARES)


@calls_api
def simulate(
    api: AdminApi,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="YAML document to simulate; - is stdin.")
    ] = None,
    lose_region: Annotated[
        list[str] | None, typer.Option(help="Simulate this region's relays as down; repeatable.")
    ] = None,
    lose_relay: Annotated[
        list[str] | None, typer.Option(help="Simulate this relay as down; repeatable.")
    ] = None,
    clients: Annotated[
        Path | None,
        typer.Option(
            help="File of client addresses and prefixes, one per line; - is stdin."
            " Default: all addresses."
        ),
    ] = None,
    service: Annotated[
        str | None, typer.Option(help="Id or name of the service; default: all services.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole answer as JSON.")
    ] = False,
) -> None:
    """Show how many clients another document, or the loss of relays, would move, and their RTTs."""
    body: dict[str, Any] = {"lost_regions": lose_region or [], "lost_relays": lose_relay or []}
    try:
        if file is not None:
            body["document"] = read_document(file).model_dump(mode="json")
        if clients is not None:
            body["clients"] = _lines(clients)
        if service is not None:
            body["service"] = service
        answer = api.call("POST", "simulate", body=body)
    except DocumentError as error:
        lines = "\n".join(f"  {file}: {problem}" for problem in error.problems)
        raise fail(f"simulate: the document cannot be used:\n{lines}") from None
    except (ApiError, OSError, UnicodeDecodeError) as error:
        raise fail(f"simulate: {error}") from None
    warn_of_geodata(answer)
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    for effect in answer["effects"]:
        print_effects([effect])
        print_table([_percents(each) for each in effect["regions"]], _COLUMNS)
        for each in effect["countries"]:
            country, part = each["country"] or "unknown", each["of_country"]
            typer.echo(f"{country}: {part:.1%} of its clients move, {each['share']:.1%} of all")


def print_effects(effects: Sequence[dict[str, Any]]) -> None:
    """Prints for each service how many clients move, from where to where, and the round trips."""
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
    """The lines of a file, without comments (#) and empty lines."""
    text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8-sig")
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]
