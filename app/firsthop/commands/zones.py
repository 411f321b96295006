"""`firsthop zones`: zone files into the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from firsthop.commands.api_client import ApiError, call, call_for_tag
from firsthop.commands.controlplane import tell
from firsthop.commands.options import API_URL, STATE_DIR, ApiUrl, StateDir, Token
from firsthop.commands.process import fail
from firsthop_controlplane.configuration.revisions import MESSAGE_LIMIT
from firsthop_steering.plan.document import DocumentError
from firsthop_zones.model import Zone
from firsthop_zones.zonefile import read_zone

TRIES = 3
"""When others change the configuration meanwhile."""
CHANGED_MEANWHILE = 412

app = typer.Typer(help="Zones of the configuration.", no_args_is_help=True)


@app.callback()
def _zones() -> None:
    """Zones of the configuration."""


@app.command("import")
def import_(
    files: Annotated[list[Path], typer.Argument(help="Zone files (RFC 1035), a zone each.")],
    apex: Annotated[
        str | None,
        typer.Option(help="What one file's relative names are below; default: its $ORIGIN."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    message: Annotated[str, typer.Option("--message", "-m")] = "",
    api: ApiUrl = API_URL,
    token: Token = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Make zones what zone files say, in one change; other zones and services stay."""
    zones = _read(files, apex)
    told = message or f"import {', '.join(zones)}"[:MESSAGE_LIMIT]
    change = {"message": told, "dry_run": dry_run}
    for left in reversed(range(TRIES)):
        try:
            document, tag = call_for_tag(f"{api}/v1/document", token, state_dir)
            body = change | {"document": document | {"zones": _replaced(document, zones)}}
            url = f"{api}/v1/changesets"
            tell(call("POST", url, token, state_dir, body=body, if_match=tag))
            return
        except ApiError as error:
            if error.status != CHANGED_MEANWHILE or not left:
                raise fail(f"zones import: {error}") from None


def _read(files: list[Path], apex: str | None) -> dict[str, Zone]:
    """The zones by apex; ends the command, telling every fault by file and line."""
    if apex is not None and len(files) > 1:
        raise typer.BadParameter("goes with one file only", param_hint="--apex")
    zones: dict[str, Zone] = {}
    told: list[str] = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8-sig")
            zone = read_zone(text, source=str(file), apex=apex)
        except (OSError, UnicodeDecodeError) as error:
            told.append(f"  {file}: cannot be read: {error}")
        except DocumentError as error:
            told += [f"  {each.field}:{each.line or 1}: {each.rule}" for each in error.problems]
        else:
            if zone.apex in zones:
                told.append(f"  {file}: another file is of zone {zone.apex} too")
            zones[zone.apex] = zone
    if told:
        raise fail("\n".join(["zones import: refused, nothing was changed:", *told]))
    return zones


def _replaced(document: dict[str, Any], zones: dict[str, Zone]) -> list[Any]:
    kept = [each for each in document["zones"] if each["apex"] not in zones]
    return [*kept, *(zone.model_dump(mode="json") for zone in zones.values())]
