"""`firsthop geodata`: builds the bundled database, downloads MaxMind's, looks an address up."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from firsthop.commands.options import STATE_DIR, StateDir
from firsthop_geodata.bundled import BUNDLED_FILE
from firsthop_geodata.errors import GeodataError
from firsthop_geodata.mmdb import open_geodata
from firsthop_geodata.prefixes import GeoTable, Location
from firsthop_geodata.update import UpdateAccount, Updated, UpdateRefused, update_database

USAGE_EXIT = 2

app = typer.Typer(
    name="geodata", help="Build, update and query the geo database.", no_args_is_help=True
)


def _fail(message: str) -> NoReturn:
    typer.echo(f"firsthop geodata: {message}", err=True)
    raise typer.Exit(USAGE_EXIT)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except GeodataError as error:
        _fail(str(error))


def _environment_path(name: str) -> Path | None:
    """A path from the environment; unset and empty mean the same."""
    value = os.environ.get(name, "")
    return Path(value) if value else None


@app.command()
def build(
    out: Annotated[
        Path | None, typer.Option(help="File to write; compressed if its name ends in .xz.")
    ] = None,
    centres: Annotated[
        Path | None,
        typer.Option(help="File for the table of country centres; default: not written."),
    ] = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Build the default database from registry delegations and city populations; takes minutes."""
    target = out or state_dir / "geodata" / BUNDLED_FILE
    try:
        from firsthop_geodata import builder, population

        with _one_line_errors():
            report = builder.build_database(target)
            if centres is not None:
                population.write_centres(centres)
    except ImportError as error:
        _fail(f"needs the build extra, pip install 'firsthop[geodata-build]' ({error})")
    typer.echo(
        f"{report.path}: {report.countries} countries, {report.v4_ranges} IPv4 and "
        f"{report.v6_ranges} IPv6 ranges, {report.file_bytes} bytes "
        f"({report.database_bytes} unpacked) in {report.seconds:.0f} s"
    )
    typer.echo(f"sha256 of the database: {report.sha256}")


@app.command()
def update(
    directory: Annotated[
        Path | None,
        typer.Option(help="Folder for the databases.", envvar="GEOIPUPDATE_DB_DIR"),
    ] = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Download the MaxMind editions in GEOIPUPDATE_EDITION_IDS, as geoipupdate does."""
    with _one_line_errors():
        account = UpdateAccount.from_environment(os.environ)
        outcomes = update_database(directory or state_dir / "geodata", account)
    refused = False
    for outcome in outcomes:
        if isinstance(outcome, UpdateRefused):
            refused = True
            kept = " (the old file stays)" if outcome.path.exists() else ""
            typer.echo(f"firsthop geodata: {outcome.edition}: {outcome.reason}{kept}", err=True)
        else:
            outcome_text = "updated to" if isinstance(outcome, Updated) else "is up to date:"
            typer.echo(f"{outcome.path} {outcome_text} {outcome.date}")
    if refused:
        raise typer.Exit(USAGE_EXIT)


@app.command()
def lookup(
    ip: Annotated[str, typer.Argument(metavar="IP", help="An IPv4 or IPv6 address.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Look an address up in FIRSTHOP_GEOIP_CITY and FIRSTHOP_GEOIP_ASN, or the bundled database."""
    try:
        address = ip_address(ip)
    except ValueError:
        _fail(f"{ip!r} is not an IP address")
    city, asn = _environment_path("FIRSTHOP_GEOIP_CITY"), _environment_path("FIRSTHOP_GEOIP_ASN")
    with _one_line_errors():
        table = open_geodata(city, asn, state_dir / "geodata")
    answer = _answer(ip, table, table.locate(address), city, asn)
    table.close()
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False))
        return
    for key, value in answer.items():
        typer.echo(f"{key:<14}{'unknown' if value in (None, '') else value}")


def _answer(
    ip: str, table: GeoTable, location: Location, city: Path | None, asn: Path | None
) -> dict[str, object]:
    cell = location.cell
    return {
        "address": ip,
        "network": str(location.network),
        "cell": location.cell_id,
        "country": cell.country if cell else None,
        "continent": cell.continent if cell else None,
        "latitude": cell.latitude if cell else None,
        "longitude": cell.longitude if cell else None,
        "place": cell.name if cell else None,
        "asn": location.asn or None,
        "database": str(city) if city else f"bundled {BUNDLED_FILE}",
        "database_type": table.database_type,
        "asn_database": str(asn) if asn else None,
    }
