"""`firsthop regions|relays|…`: what is configured, listed and changed one object at a time.

Every change is a PATCH of the version that was just read, so nobody else's change is undone; it
prints what became of each field, and the revision that it made. Knows paths, not models: what may
stand in a field is the API's to say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
import yaml

from firsthop.commands.api_client import ApiError, call, call_for_tag, pages
from firsthop.commands.options import API_URL, STATE_DIR, ApiUrl, Force, StateDir, Token
from firsthop.commands.process import fail

COLUMNS = {
    "regions": ("id", "name", "weight", "bias_ms", "state"),
    "relays": ("id", "region", "ipv4", "ipv6", "udp_port", "weight", "state"),
    "transceiver-regions": ("id", "wire_id", "weight", "bias_ms", "state"),
    "transceivers": ("id", "region", "host", "port", "weight", "state"),
    "services": ("id", "name", "pool", "ttl", "answers", "when_all_down"),
    "overrides": ("id", "cidr", "asn", "country", "continent", "mode", "regions", "expires_at"),
}
"""The collections, and the fields that `list` shows of each."""
DRAINABLE = ("regions", "relays", "transceiver-regions", "transceivers")
Identity = Annotated[str, typer.Argument(metavar="ID")]
Fields = Annotated[
    list[str],
    typer.Argument(
        metavar="FIELD=VALUE...",
        help='VALUE: JSON (50, null, ["fra"]) or text; FIELD: also one inside another, probe.fall',
    ),
]


def collection(path: str) -> typer.Typer:
    """The commands of one collection."""
    noun = path.removesuffix("s").replace("-", " ")
    app = typer.Typer(help=f"Each {noun} that is configured.", no_args_is_help=True)

    @app.command("list", help=f"List every {noun}.")
    def list_(api: ApiUrl = API_URL, token: Token = None, state_dir: StateDir = STATE_DIR) -> None:
        with_api(lambda: print_table(pages(f"{api}/v1/{path}", token, state_dir), COLUMNS[path]))

    @app.command("show", help=f"Print one {noun} as YAML.")
    def show(
        identity: Identity,
        api: ApiUrl = API_URL,
        token: Token = None,
        state_dir: StateDir = STATE_DIR,
    ) -> None:
        with_api(lambda: _print(call("GET", _one(api, path, identity), token, state_dir)))

    @app.command("set", help=f"Change fields of one {noun}.")
    def set_(
        identity: Identity,
        fields: Fields,
        force: Force = False,
        api: ApiUrl = API_URL,
        token: Token = None,
        state_dir: StateDir = STATE_DIR,
    ) -> None:
        patch = read_fields(fields)
        with_api(lambda: change(_one(api, path, identity), patch, token, state_dir, force=force))

    @app.command("create", help=f"Make a {noun}.")
    def create(
        identity: Identity,
        fields: Fields,
        force: Force = False,
        api: ApiUrl = API_URL,
        token: Token = None,
        state_dir: StateDir = STATE_DIR,
    ) -> None:
        body, url = {"id": identity, **read_fields(fields)}, f"{api}/v1/{path}"
        with_api(lambda: _print(call("POST", url, token, state_dir, forcing(force), body=body)))

    @app.command("delete", help=f"Delete one {noun}.")
    def delete(
        identity: Identity,
        force: Force = False,
        api: ApiUrl = API_URL,
        token: Token = None,
        state_dir: StateDir = STATE_DIR,
    ) -> None:
        with_api(lambda: _delete(_one(api, path, identity), token, state_dir, force=force))

    return app


def drain(
    what: Annotated[str, typer.Argument(metavar="COLLECTION", help=", ".join(DRAINABLE))],
    identity: Identity,
    undo: Annotated[bool, typer.Option("--undo", help="Take clients again.")] = False,
    force: Force = False,
    api: ApiUrl = API_URL,
    token: Token = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Send no new clients to a region, a relay or a transceiver."""
    if what not in DRAINABLE:
        raise typer.BadParameter(f"must be one of {', '.join(DRAINABLE)}", param_hint="COLLECTION")
    patch = {"state": "active" if undo else "draining"}
    with_api(lambda: change(_one(api, what, identity), patch, token, state_dir, force=force))


def change(
    url: str, patch: dict[str, Any], token: str | None, state_dir: Path, *, force: bool
) -> None:
    """Lay `patch` over the object at `url`, and print each field's value before and after."""
    before, tag = call_for_tag(url, token, state_dir)
    query = forcing(force)
    after, version = call_for_tag(
        url, token, state_dir, method="PATCH", query=query, body=patch, if_match=tag
    )
    lines = [
        f"{name}: {json.dumps(before.get(name))} -> {json.dumps(value)}"
        for name, value in after.items()
        if before.get(name) != value
    ]
    typer.echo(
        "\n".join([*lines, f"revision {version.strip(chr(34))}"] if lines else ["as before"])
    )


def read_fields(texts: Sequence[str]) -> dict[str, Any]:
    """The patch in `a=1 b.c=x`; raises typer.BadParameter."""
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
                rule = f"{name} lies inside a field that is given a value too"
                raise typer.BadParameter(rule, param_hint="FIELD=VALUE")
        inner[last] = _value(value)
    return patch


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def with_api(calls: Callable[[], None]) -> None:
    """Make calls of the API; what they are refused for ends the command."""
    try:
        calls()
    except ApiError as error:
        raise fail(str(error)) from None


def _one(api: str, path: str, identity: str) -> str:
    return f"{api}/v1/{path}/{quote(identity, safe='')}"


def forcing(force: bool) -> dict[str, str]:
    """The query that overrules the guard."""
    return {"force": "true"} if force else {}


def _delete(url: str, token: str | None, state_dir: Path, *, force: bool) -> None:
    _, tag = call_for_tag(url, token, state_dir)
    call("DELETE", url, token, state_dir, forcing(force), if_match=tag)
    typer.echo("deleted")


def _print(value: Any) -> None:
    typer.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)


def print_table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Rows under their names, columns as wide as they must be; what is absent is a hyphen."""
    cells = [[*columns], *([_cell(row[name]) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(padded).rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)


regions = collection("regions")
relays = collection("relays")
transceiver_regions = collection("transceiver-regions")
transceivers = collection("transceivers")
services = collection("services")
overrides = collection("overrides")
