"""`firsthop allocate`: an allocation for one client, as a signalling server requests it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Annotated, Any

import typer

TIMEOUT_S = 10.0


def allocate(
    client: Annotated[
        str | None, typer.Option(help="Address of the client; default: this machine's.")
    ] = None,
    service: Annotated[
        str | None, typer.Option(help="Id or name of the service; default: the first.")
    ] = None,
    ttl: Annotated[int | None, typer.Option(help="Lifetime of the credential in seconds.")] = None,
    transceiver_region: Annotated[
        str | None, typer.Option(help="Transceiver region that the session must use.")
    ] = None,
    exclude_relay: Annotated[
        list[str] | None, typer.Option(help="A relay that the client cannot reach; repeatable.")
    ] = None,
    url: Annotated[
        str, typer.Option(envvar="FIRSTHOP_ALLOCATOR_URL", help="URL of the allocator.")
    ] = "http://127.0.0.1:8081",
    token: Annotated[
        str | None,
        typer.Option(
            envvar="FIRSTHOP_ALLOCATOR_TOKEN",
            show_envvar=True,
            help="Bearer token with the role allocator; a public allocator needs none.",
        ),
    ] = None,
) -> None:
    """Request relays and an ICE credential for one client, and print the answer."""
    body = {
        "client_ip": client,
        "service": service,
        "ttl": ttl,
        "transceiver_region": transceiver_region,
        "exclude_relays": exclude_relay,
    }
    if not url.startswith(("http://", "https://")):
        raise typer.BadParameter("must start with http:// or https://", param_hint="--url")
    wanted = {name: value for name, value in body.items() if value}
    try:
        answer = _post(f"{url.rstrip('/')}/v1/allocations", token, wanted)
    except urllib.error.HTTPError as error:
        with error:
            typer.echo(f"firsthop allocate: {_problem(error)}", err=True)
        raise typer.Exit(1) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        typer.echo(f"firsthop allocate: {url}: {reason}", err=True)
        raise typer.Exit(1) from None
    typer.echo(json.dumps(answer, indent=2))


def _post(url: str, token: str | None, body: dict[str, Any]) -> Any:
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(  # noqa: S310 - http and https only
        url, method="POST", data=json.dumps(body).encode(), headers=headers
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
        return json.loads(response.read())


def _problem(error: urllib.error.HTTPError) -> str:
    """A problem document (RFC 9457) as one line."""
    try:
        problem = json.loads(error.read())
        return f"{error.code} {problem['title']}: {problem['detail']}"
    except (ValueError, KeyError, TypeError, OSError):
        return f"{error.code} {error.reason}"
