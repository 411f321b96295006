"""`firsthop controlplane`, and what goes with its store: migrate, token, apply, export."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from pydantic import ValidationError

from firsthop.commands.api_client import ApiError, call
from firsthop.commands.options import (
    API_URL,
    STATE_DIR,
    ApiUrl,
    Force,
    GeoipAsn,
    GeoipCity,
    StateDir,
    Token,
    listen_one,
    share_of_clients,
    share_of_relays,
)
from firsthop.commands.process import fail, http_url
from firsthop.commands.simulate import tell_effects
from firsthop.controlplane.explaining import Explainer
from firsthop.controlplane.machine_tokens import MachineTokens
from firsthop.controlplane.process import ControlPlaneOptions, StartError, run_controlplane
from firsthop.controlplane.store import create_token
from firsthop.document_files import read_document
from firsthop.secret_files import write_secret
from firsthop_controlplane.access.tokens import TokenDraft
from firsthop_controlplane.errors import ControlPlaneError
from firsthop_controlplane.settings import GUARD_SHARE, PAST_KEPT_DAYS, Settings
from firsthop_controlplane.store.migrate import migrate as migrate_store
from firsthop_geodata.errors import GeodataError
from firsthop_steering.feed.exploration_targets import MAX_SHARE
from firsthop_steering.health.depool import Shares
from firsthop_steering.plan.document import DocumentError
from firsthop_steering.rtt.exploration import SHARE

DatabaseUrl = Annotated[
    str, typer.Option(envvar="FIRSTHOP_DATABASE_URL", help="postgresql://…", show_envvar=True)
]

token = typer.Typer(help="Tokens of people and machines.", no_args_is_help=True)


@token.callback()
def _tokens() -> None:
    """Tokens of people and machines."""


def controlplane(
    database_url: DatabaseUrl,
    listen: Annotated[str, typer.Option(envvar="FIRSTHOP_CONTROLPLANE_LISTEN")] = "127.0.0.1:8080",
    advertise: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_ADVERTISE_URL",
            callback=lambda url: url and http_url(url),
            help="Where other control planes reach this one; default: where it listens.",
        ),
    ] = "",
    state_dir: StateDir = STATE_DIR,
    bootstrap_tokens: Annotated[
        Path | None,
        typer.Option(
            envvar="FIRSTHOP_BOOTSTRAP_TOKENS",
            help="JSON [{name, role, scope, secret}]: tokens kept as this file says.",
        ),
    ] = None,
    publish_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="FIRSTHOP_PUBLISH_DIR",
            help="Where snapshot.pub (edges), route.keys and routes.json (relays), regions/*.keys"
            " (transceivers) and turn.secrets (TURN servers) go; default: --state-dir.",
        ),
    ] = None,
    depool_region_share: Annotated[
        float,
        typer.Option(
            envvar="FIRSTHOP_DEPOOL_REGION_SHARE",
            help="Largest share of a region's relays that may be down by measurement.",
        ),
    ] = Shares().region,
    depool_share: Annotated[
        float,
        typer.Option(envvar="FIRSTHOP_DEPOOL_SHARE", help="The same of all relays; 1: no limit."),
    ] = Shares().all,
    guard_share: Annotated[
        float,
        typer.Option(
            envvar="FIRSTHOP_GUARD_SHARE",
            help="Largest share of a service's clients that a change may move without force;"
            " 1: no limit.",
        ),
    ] = GUARD_SHARE,
    exploration_share: Annotated[
        float,
        typer.Option(
            envvar="FIRSTHOP_EXPLORATION_SHARE",
            help="Share of allocations that may carry a relay just to learn of it; 0: none,"
            " at most 0.2.",
        ),
    ] = SHARE,
    past_kept_days: Annotated[
        float,
        typer.Option(
            min=0,
            envvar="FIRSTHOP_PAST_KEPT_DAYS",
            help="How far back explain --at knows relays, prices and learned round trips.",
        ),
    ] = PAST_KEPT_DAYS,
    geoip_city: GeoipCity = None,
    geoip_asn: GeoipAsn = None,
) -> None:
    """Serve the admin API, ingest and the snapshot feed over a PostgreSQL."""
    host, port = listen_one(listen, "--listen")
    options = ControlPlaneOptions(
        settings=Settings(
            database_url=database_url,
            host=host,
            port=port,
            advertise_url=advertise,
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
        rule = f"{share:g} is not from 0 to {MAX_SHARE:g}"
        raise typer.BadParameter(rule, param_hint="--exploration-share")
    return share


def migrate(database_url: DatabaseUrl) -> None:
    """Bring the database to this release's schema."""
    try:
        head = asyncio.run(migrate_store(database_url))
    except (ControlPlaneError, OSError) as error:
        raise fail(f"migrate: {error}") from None
    typer.echo(f"the schema is at {head}")


@token.command("create")
def create(
    name: Annotated[str, typer.Option(help="Stands in the audit.")],
    role: Annotated[str, typer.Option(help="viewer, operator, admin, edge, prober, agent, …")],
    scope: Annotated[str | None, typer.Option(help="The relay of an agent, …")] = None,
    expires_at: Annotated[datetime | None, typer.Option(help="UTC; default: never.")] = None,
    database_url: Annotated[
        str | None,
        typer.Option(envvar="FIRSTHOP_DATABASE_URL", help="Given: written there, without an API."),
    ] = None,
    api: ApiUrl = API_URL,
    api_token: Annotated[str | None, typer.Option("--token", envvar="FIRSTHOP_TOKEN")] = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Make a token and print its secret, once."""
    draft: dict[str, Any] = {"name": name, "role": role, "scope": scope}
    if expires_at is not None:
        draft["expires_at"] = expires_at.replace(tzinfo=UTC).isoformat()
    try:
        if database_url:
            typer.echo(asyncio.run(create_token(database_url, draft)))
        else:
            made = call("POST", f"{api}/v1/tokens", api_token, state_dir, body=draft)
            typer.echo(made["secret"])
    except (ApiError, ControlPlaneError, OSError) as error:
        raise fail(f"token create: {error}") from None


@token.command("bootstrap")
def bootstrap(
    directory: Annotated[Path, typer.Argument(help="Gets machine.tokens and NAME.token each.")],
    machines: Annotated[list[str], typer.Argument(help="NAME=ROLE or NAME=ROLE:SCOPE")],
) -> None:
    """Make tokens before there is a control plane: it takes them by --bootstrap-tokens."""
    directory.mkdir(parents=True, exist_ok=True)
    tokens = MachineTokens(directory / "machine.tokens")
    wanted = [_machine(each) for each in machines]
    tokens.add(wanted)
    for name, _, _ in wanted:
        write_secret(directory / f"{name}.token", tokens[name] + "\n")
        typer.echo(directory / f"{name}.token")


def _machine(text: str) -> tuple[str, str, str | None]:
    name, equals, role = text.partition("=")
    role, colon, scope = role.partition(":")
    try:
        TokenDraft.model_validate({"name": name, "role": role, "scope": scope if colon else None})
    except ValidationError as error:
        rule = error.errors()[0]["msg"]
        raise typer.BadParameter(
            f"{text!r}: must be NAME=ROLE or NAME=ROLE:SCOPE: {rule}"
        ) from None
    if not equals or "/" in name:
        raise typer.BadParameter(f"{text!r}: must be NAME=ROLE or NAME=ROLE:SCOPE")
    return name, role, scope if colon else None


def apply(
    file: Annotated[Path, typer.Option("--file", "-f", help="A YAML document; - is stdin.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    message: Annotated[str, typer.Option("--message", "-m")] = "",
    force: Force = False,
    api: ApiUrl = API_URL,
    token: Token = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Make the configuration what a document says; what it does not name is deleted."""
    try:
        document = read_document(file)
        body = {
            "document": document.model_dump(mode="json"),
            "message": message,
            "dry_run": dry_run,
            "force": force,
        }
        applied = call("POST", f"{api}/v1/changesets", token, state_dir, body=body)
    except DocumentError as error:
        lines = "\n".join(f"  {file}: {problem}" for problem in error.problems)
        raise fail(f"apply: refused, nothing was changed:\n{lines}") from None
    except (ApiError, OSError, UnicodeDecodeError) as error:
        raise fail(f"apply: {error}") from None
    tell(applied)


def tell(applied: dict[str, Any]) -> None:
    """Print what a change set did, and on standard error what is hardly meant."""
    for warning in applied["warnings"]:
        typer.echo(f"warning: {warning['field']}: {warning['rule']}", err=True)
    for change in applied["changes"]:
        fields = f": {', '.join(change['fields'])}" if change["action"] == "changed" else ""
        typer.echo(f"{change['action']:8} {change['object']}{fields}")
    tell_effects(applied["effects"] or ())
    if applied["dry_run"]:
        typer.echo(f"dry run: {len(applied['changes'])} changes, nothing was stored")
    elif applied["revision"] is None:
        typer.echo("nothing differs")
    else:
        typer.echo(f"revision {applied['revision']}")


def export(
    api: ApiUrl = API_URL,
    token: Token = None,
    state_dir: StateDir = STATE_DIR,
) -> None:
    """Print the configuration as a document that `apply` takes."""
    try:
        document = call("GET", f"{api}/v1/document", token, state_dir)
    except ApiError as error:
        raise fail(f"export: {error}") from None
    typer.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
