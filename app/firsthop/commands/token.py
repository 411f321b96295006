"""`firsthop token`: tokens of people and machines; a secret is shown only when it is made."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from firsthop.commands.admin_api import AdminApi, ApiError, calls_api
from firsthop.commands.errors import fail
from firsthop.commands.resources import print_table
from firsthop.controlplane.machine_tokens import MachineTokens
from firsthop.controlplane.store import create_token
from firsthop.secret_files import write_secret
from firsthop_controlplane.access.tokens import TokenDraft
from firsthop_controlplane.errors import ControlPlaneError

COLUMNS = ("name", "role", "scope", "expires_at", "last_used_at", "uses", "refusals")

app = typer.Typer(help="Tokens for people and machines.", no_args_is_help=True)


@app.command("list")
@calls_api
def list_(api: AdminApi) -> None:
    """List all tokens: when each was last used, how often, and why requests were refused."""
    rows = api.pages("tokens")
    for row in rows:
        row["refusals"] = ", ".join(f"{name} {n}" for name, n in row["refusals"].items())
    print_table(sorted(rows, key=lambda row: (row["role"], row["name"])), COLUMNS)


@app.command("revoke")
@calls_api
def revoke(
    api: AdminApi,
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of the tokens.", show_default=False)
    ] = None,
    all_of: Annotated[
        str,
        typer.Option(help="Revoke all tokens of this role; of admin, all but the one in use."),
    ] = "",
) -> None:
    """Revoke tokens for ever, at once; what machines reported with them is dropped."""
    if bool(names) == bool(all_of):
        raise typer.BadParameter("give either names of tokens or --all-of ROLE")
    if all_of:
        revoked = api.call("DELETE", "tokens", {"role": all_of})["revoked"]
        typer.echo("\n".join(f"revoked {name}" for name in revoked) or "there were none")
        return
    ids = {each["name"]: each["id"] for each in api.pages("tokens")}
    unknown = [name for name in names or () if name not in ids]
    if unknown:
        raise fail(f"token revoke: there is no token {', '.join(unknown)}; none was revoked")
    for name in names or ():
        _, tag = api.call_for_tag("GET", f"tokens/{ids[name]}")
        api.call("DELETE", f"tokens/{ids[name]}", if_match=tag)
        typer.echo(f"revoked {name}")


@app.command("create")
@calls_api
def create(
    name: Annotated[str, typer.Option(help="Name of the token, shown in the audit log.")],
    role: Annotated[str, typer.Option(help="viewer, operator, admin, edge, prober, agent, …")],
    api: AdminApi,
    scope: Annotated[
        str | None, typer.Option(help="What the role is limited to, such as an agent's relay.")
    ] = None,
    expires_at: Annotated[
        datetime | None, typer.Option(help="Expiry in UTC; default: never.")
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            envvar="FIRSTHOP_DATABASE_URL",
            help="Write to this database instead of calling the API.",
        ),
    ] = None,
) -> None:
    """Create a token and print its secret, which is shown only once."""
    draft: dict[str, Any] = {"name": name, "role": role, "scope": scope}
    if expires_at is not None:
        draft["expires_at"] = expires_at.replace(tzinfo=UTC).isoformat()
    try:
        if database_url:
            typer.echo(asyncio.run(create_token(database_url, draft)))
        else:
            made = api.call("POST", "tokens", body=draft)
            typer.echo(made["secret"])
    except (ApiError, ControlPlaneError, OSError) as error:
        raise fail(f"token create: {error}") from None


@app.command("bootstrap")
def bootstrap(
    directory: Annotated[
        Path, typer.Argument(help="Folder for machine.tokens and one NAME.token per machine.")
    ],
    machines: Annotated[
        list[str], typer.Argument(help="Machines, each as NAME=ROLE or NAME=ROLE:SCOPE.")
    ],
) -> None:
    """Create token files before the first start of a control plane (see its --bootstrap-tokens)."""
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
