"""`firsthop zones`: imports zone files into the configuration."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from firsthop.commands.admin_api import AdminApi, ApiError, calls_api
from firsthop.commands.controlplane import print_changes
from firsthop.commands.errors import fail
from firsthop.document_files import DocumentFiles
from firsthop_controlplane.bodies.documents import MAX_MESSAGE
from firsthop_steering.plan.document import DocumentError
from firsthop_zones.faults import text_of
from firsthop_zones.model import Zone
from firsthop_zones.zonefile import read_zone

TRIES = 3
"""Number of attempts: others may change the configuration between reading and writing it."""
CHANGED_MEANWHILE = 412

app = typer.Typer(help="Import zones into the configuration.", no_args_is_help=True)


@app.callback()
def _zones() -> None:
    """Import zones into the configuration."""


@app.command("import")
@calls_api
def import_(
    files: Annotated[list[Path], typer.Argument(help="Zone files (RFC 1035), one per zone.")],
    api: AdminApi,
    apex: Annotated[
        str | None,
        typer.Option(help="Apex of the zone, if there is one file; default: the owner of its SOA."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")
    ] = False,
    message: Annotated[
        str, typer.Option("--message", "-m", help="Reason for the change, kept with the revision.")
    ] = "",
) -> None:
    """Create or replace the zones in zone files, in one change; other zones and services stay."""
    zones = _read(files, apex)
    text = message or f"import {', '.join(zones)}"[:MAX_MESSAGE]
    change = {"message": text, "dry_run": dry_run}
    for left in reversed(range(TRIES)):
        try:
            document, tag = api.call_for_tag("GET", "document")
            body = change | {"document": document | {"zones": _replaced(document, zones)}}
            print_changes(api.call("POST", "changesets", body=body, if_match=tag))
            return
        except ApiError as error:
            if error.status != CHANGED_MEANWHILE or not left:
                raise fail(f"zones import: {error}") from None


def _read(files: list[Path], apex: str | None) -> dict[str, Zone]:
    """The zones by apex. Ends the command if there are faults; each is printed with its line."""
    if apex is not None and len(files) > 1:
        raise typer.BadParameter("can be used with one file only", param_hint="--apex")
    zones: dict[str, Zone] = {}
    faults: list[str] = []
    for file in files:
        try:
            text = text_of(file.read_bytes(), str(file))
            zone = read_zone(text, source=str(file), apex=apex, read_file=_below(file))
        except OSError as error:
            faults.append(f"  {file}: cannot be read: {error}")
        except DocumentError as error:
            faults += [f"  {each.field}:{each.line or 1}: {each.rule}" for each in error.problems]
        else:
            if zone.apex in zones:
                faults.append(f"  {file}: another file also has zone {zone.apex}")
            zones[zone.apex] = zone
    if faults:
        raise fail("\n".join(["zones import: refused, nothing was changed:", *faults]))
    return zones


def _below(file: Path) -> Callable[[str], str]:
    """Reads the files that a zone file includes, which must be below its folder."""
    files = DocumentFiles(file)
    return lambda path: files.zone_file(os.path.relpath(path, file.parent))


def _replaced(document: dict[str, Any], zones: dict[str, Zone]) -> list[Any]:
    kept = [each for each in document["zones"] if each["apex"] not in zones]
    return [*kept, *(zone.model_dump(mode="json") for zone in zones.values())]
