"""`firsthop regions|relays|…`: lists the configuration, and changes it one object at a time.

A change is a PATCH of the version that was just read (If-Match), so it cannot undo another change.
The command prints each changed field and the revision. This module does not know the models: the
API checks the fields.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

import typer

from firsthop.commands.admin_api import AdminApi, Force, calls_api
from firsthop_steering.plan.yaml_text import write_yaml
from firsthop_zones.visible import visible

COLUMNS = {
    "regions": ("id", "name", "weight", "bias_ms", "state"),
    "relays": ("id", "region", "ipv4", "ipv6", "udp_port", "weight", "state"),
    "transceiver-regions": ("id", "wire_id", "weight", "bias_ms", "state"),
    "transceivers": ("id", "region", "host", "port", "weight", "state"),
    "services": ("id", "name", "pool", "ttl", "answers", "when_all_down"),
    "overrides": ("id", "cidr", "asn", "country", "continent", "mode", "regions", "expires_at"),
}
"""Collection → the fields that `list` shows."""
DRAINABLE = ("regions", "relays", "transceiver-regions", "transceivers")
Identity = Annotated[str, typer.Argument(metavar="ID", help="Id of the object.")]
Fields = Annotated[
    list[str],
    typer.Argument(
        metavar="FIELD=VALUE...",
        help='VALUE is JSON (50, null, ["fra"]) or text; dots select nested fields (probe.fall)',
    ),
]


def collection(path: str) -> typer.Typer:
    """The commands of one collection."""
    noun = path.removesuffix("s").replace("-", " ")
    app = typer.Typer(help=f"List, show and change each {noun}.", no_args_is_help=True)

    @app.command("list", help=f"List every {noun}.")
    @calls_api
    def list_(api: AdminApi) -> None:
        print_table(api.pages(path), COLUMNS[path])

    @app.command("show", help=f"Print one {noun} as YAML.")
    @calls_api
    def show(identity: Identity, api: AdminApi) -> None:
        _print(api.call("GET", _one(path, identity)))

    @app.command("set", help=f"Change fields of one {noun}.")
    @calls_api
    def set_(identity: Identity, fields: Fields, api: AdminApi, force: Force = False) -> None:
        change(api, _one(path, identity), read_fields(fields), force=force)

    @app.command("create", help=f"Create one {noun}.")
    @calls_api
    def create(identity: Identity, fields: Fields, api: AdminApi, force: Force = False) -> None:
        body = {"id": identity, **read_fields(fields)}
        _print(api.call("POST", path, forcing(force), body=body))

    @app.command("delete", help=f"Delete one {noun}.")
    @calls_api
    def delete(identity: Identity, api: AdminApi, force: Force = False) -> None:
        where = _one(path, identity)
        _, tag = api.call_for_tag("GET", where)
        api.call("DELETE", where, forcing(force), if_match=tag)
        typer.echo("deleted")

    return app


@calls_api
def drain(
    what: Annotated[str, typer.Argument(metavar="COLLECTION", help=", ".join(DRAINABLE))],
    identity: Identity,
    api: AdminApi,
    undo: Annotated[
        bool, typer.Option("--undo", help="End the drain, so that new clients are sent again.")
    ] = False,
    force: Force = False,
) -> None:
    """Send no new clients to a region, a relay or a transceiver."""
    if what not in DRAINABLE:
        raise typer.BadParameter(f"must be one of {', '.join(DRAINABLE)}", param_hint="COLLECTION")
    patch = {"state": "active" if undo else "draining"}
    change(api, _one(what, identity), patch, force=force)


def change(api: AdminApi, path: str, patch: dict[str, Any], *, force: bool) -> None:
    """Patch the object at `path`, and print each changed field's value before and after."""
    before, tag = api.call_for_tag("GET", path)
    after, version = api.call_for_tag("PATCH", path, forcing(force), body=patch, if_match=tag)
    lines = [
        f"{name}: {json.dumps(before.get(name))} -> {json.dumps(value)}"
        for name, value in after.items()
        if before.get(name) != value
    ]
    typer.echo(
        "\n".join([*lines, f"revision {version.strip(chr(34))}"] if lines else ["nothing differs"])
    )


def read_fields(texts: Sequence[str]) -> dict[str, Any]:
    """Parses texts like `a=1` and `b.c=x` into a patch. Raises typer.BadParameter."""
    patch: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        *outer, last = name.split(".")
        if not equals or not all((*outer, last)):
            raise typer.BadParameter(f"{text!r} must be FIELD=VALUE", param_hint="FIELD=VALUE")
        inner = patch
        for each in outer:
            inner = inner.setdefault(each, {})
            if not isinstance(inner, dict):
                rule = f"{name} is part of a field that is set too"
                raise typer.BadParameter(rule, param_hint="FIELD=VALUE")
        inner[last] = _value(value)
    return patch


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _one(path: str, identity: str) -> str:
    return f"{path}/{quote(identity, safe='')}"


def forcing(force: bool) -> dict[str, str]:
    """The query parameters that override the guard; none without `force`."""
    return {"force": "true"} if force else {}


def _print(value: Any) -> None:
    typer.echo(write_yaml(value), nl=False)


def print_table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Prints rows in aligned columns under the columns' names; `-` stands for an absent value."""
    cells = [[*columns], *([_cell(row[name]) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(padded).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return visible(",".join(map(str, value))) or "-"
    return "-" if value in (None, "") else visible(str(value))


regions = collection("regions")
relays = collection("relays")
transceiver_regions = collection("transceiver-regions")
transceivers = collection("transceivers")
services = collection("services")
overrides = collection("overrides")
