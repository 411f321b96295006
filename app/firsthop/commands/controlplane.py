"""`firsthop controlplane`, and commands that change or read its store: migrate, apply, export."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from firsthop.commands.admin_api import AdminApi, ApiError, Force, calls_api
from firsthop.commands.errors import fail
from firsthop.commands.options import (
    STATE_DIR,
    AllowLoopback,
    GeoipAsn,
    GeoipCity,
    StateDir,
    http_url,
    listen_one,
    listen_option,
    share_of_clients,
    share_of_relays,
)
from firsthop.commands.simulate import print_effects
from firsthop.controlplane.explaining import Explainer
from firsthop.controlplane.process import ControlPlaneOptions, StartError, run_controlplane
from firsthop.document_files import read_document
from firsthop_controlplane.errors import ControlPlaneError
from firsthop_controlplane.settings import GUARD_SHARE, PAST_KEPT_DAYS, Settings
from firsthop_controlplane.store.migrate import migrate as migrate_store
from firsthop_geodata.errors import GeodataError
from firsthop_steering.feed.exploration_targets import MAX_SHARE
from firsthop_steering.health.depool import Shares
from firsthop_steering.plan.document import DocumentError
from firsthop_steering.plan.yaml_text import write_yaml
from firsthop_steering.rtt.exploration import SHARE
from firsthop_zones.visible import visible

DatabaseUrl = Annotated[
    str,
    typer.Option(
        envvar="FIRSTHOP_DATABASE_URL",
        help="URL of the PostgreSQL database, postgresql://…",
        show_envvar=True,
    ),
]


def controlplane(
    database_url: DatabaseUrl,
    listen: Annotated[
        str, listen_option("FIRSTHOP_CONTROLPLANE_LISTEN", "the API")
    ] = "127.0.0.1:8080",
    advertise: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_ADVERTISE_URL",
            callback=lambda url: url and http_url(url),
            help="URL at which other control planes reach this one; default: where it listens.",
        ),
    ] = "",
    state_dir: StateDir = STATE_DIR,
    bootstrap_tokens: Annotated[
        Path | None,
        typer.Option(
            envvar="FIRSTHOP_BOOTSTRAP_TOKENS",
            help="JSON file of tokens to add, unless revoked: [{name, role, scope, secret}, …].",
        ),
    ] = None,
    publish_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="FIRSTHOP_PUBLISH_DIR",
            help="Folder for files that other machines need: snapshot.pub (edges), route.keys and"
            " routes.json (relays), regions/*.keys (transceivers), turn.secrets (TURN servers);"
            " default: --state-dir.",
        ),
    ] = None,
    allow_loopback: AllowLoopback = False,
    depool_region_share: Annotated[
        float,
        typer.Option(
            envvar="FIRSTHOP_DEPOOL_REGION_SHARE",
            help="Largest share of a region's relays that measurements may take out of service;"
            " 1: no limit.",
        ),
    ] = Shares().region,
    depool_share: Annotated[
        float,
        typer.Option(
            envvar="FIRSTHOP_DEPOOL_SHARE",
            help="Largest share of all relays that measurements may take out of service;"
            " 1: no limit.",
        ),
    ] = Shares().all,
    guard_share: Annotated[
        float,
        typer.Option(
            envvar="FIRSTHOP_GUARD_SHARE",
            help="Largest share of a service's clients that a change may move without --force;"
            " 1: no limit.",
        ),
    ] = GUARD_SHARE,
    exploration_share: Annotated[
        float,
        typer.Option(
            envvar="FIRSTHOP_EXPLORATION_SHARE",
            help="Share of allocations that get an extra relay, to learn its round trip; at most"
            " 0.2; 0: none.",
        ),
    ] = SHARE,
    past_kept_days: Annotated[
        float,
        typer.Option(
            min=0,
            envvar="FIRSTHOP_PAST_KEPT_DAYS",
            help="Days for which relay states, prices and learned round trips are kept for"
            " explain --at.",
        ),
    ] = PAST_KEPT_DAYS,
    geoip_city: GeoipCity = None,
    geoip_asn: GeoipAsn = None,
) -> None:
    """Run the control plane: admin API, probe and load reports, snapshot feed."""
    host, port = listen_one(listen, "--listen")
    options = ControlPlaneOptions(
        settings=Settings(
            database_url=database_url,
            host=host,
            port=port,
            advertise_url=advertise,
            allow_loopback=allow_loopback,
            depool_region_share=share_of_relays(depool_region_share, "--depool-region-share"),
            depool_share=share_of_relays(depool_share, "--depool-share"),
            guard_share=share_of_clients(guard_share, "--guard-share"),
            exploration_share=_share_to_explore(exploration_share),
            past_kept_days=past_kept_days,
        ),
        state_dir=state_dir,
        publish_dir=publish_dir,
        bootstrap_tokens=bootstrap_tokens,
    )
    try:
        explainer = Explainer(geoip_city, geoip_asn, state_dir / "geodata")
        run_controlplane(options, explainer)
    except (StartError, GeodataError, OSError) as error:
        raise fail(f"controlplane: {error}") from None


def _share_to_explore(share: float) -> float:
    if not 0 <= share <= MAX_SHARE:
        rule = f"must be from 0 to {MAX_SHARE:g}, not {share:g}"
        raise typer.BadParameter(rule, param_hint="--exploration-share")
    return share


def migrate(
    database_url: DatabaseUrl,
    restored: Annotated[
        bool,
        typer.Option(
            "--restored", help="The database is a backup: edges must accept its older numbers."
        ),
    ] = False,
) -> None:
    """Upgrade the database schema to this release."""
    try:
        head = asyncio.run(migrate_store(database_url, restored=restored))
    except (ControlPlaneError, OSError) as error:
        raise fail(f"migrate: {error}") from None
    typer.echo(f"the schema is at {head}")


@calls_api
def apply(
    file: Annotated[Path, typer.Option("--file", "-f", help="YAML document; - is stdin.")],
    api: AdminApi,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")
    ] = False,
    message: Annotated[
        str, typer.Option("--message", "-m", help="Reason for the change, kept with the revision.")
    ] = "",
    force: Force = False,
) -> None:
    """Replace the configuration with a document; objects that it does not name are deleted."""
    try:
        document = read_document(file)
        body = {
            "document": document.model_dump(mode="json"),
            "message": message,
            "dry_run": dry_run,
            "force": force,
        }
        applied = api.call("POST", "changesets", body=body)
    except DocumentError as error:
        lines = "\n".join(f"  {file}: {problem}" for problem in error.problems)
        raise fail(f"apply: refused, nothing was changed:\n{lines}") from None
    except (ApiError, OSError) as error:
        raise fail(f"apply: {error}") from None
    print_changes(applied)


def print_changes(applied: dict[str, Any]) -> None:
    """Prints the changes of a change set, and its warnings on standard error."""
    for warning in applied["warnings"]:
        typer.echo(visible(f"warning: {warning['field']}: {warning['rule']}"), err=True)
    for change in applied["changes"]:
        fields = f": {', '.join(change['fields'])}" if change["action"] == "changed" else ""
        typer.echo(visible(f"{change['action']:8} {change['object']}{fields}"))
    print_effects(applied["effects"] or ())
    if applied["dry_run"]:
        typer.echo(f"dry run: {len(applied['changes'])} changes, nothing was stored")
    elif applied["revision"] is None:
        typer.echo("nothing differs")
    else:
        typer.echo(f"revision {applied['revision']}")


@calls_api
def export(api: AdminApi) -> None:
    """Print the configuration as a YAML document, as `firsthop apply` takes it."""
    try:
        document = api.call("GET", "document")
    except ApiError as error:
        raise fail(f"export: {error}") from None
    typer.echo(write_yaml(document), nl=False)
