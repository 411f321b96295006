"""`firsthop transceiver`: the reference transceiver, which echoes all media."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from firsthop.addresses import Listen
from firsthop.commands.errors import fail
from firsthop.commands.options import (
    TokenFile,
    bearer_token,
    http_urls,
    items,
    listen_list,
    listen_one,
)
from firsthop.commands.slugs import optional_slug
from firsthop.process.running import run_until_signal
from firsthop_healthchecks.agent.transceiver import Enrolment
from firsthop_healthchecks.controlplane import ControlPlaneClient
from firsthop_net.listening import ListenError
from firsthop_relay.process.reloading_file import FileError
from firsthop_relay.transceiver.service import TransceiverSettings, serve_transceiver
from firsthop_steering.plan.registration import Registration

MAX_RELAYS = 3
MAX_SESSIONS = 100
"""Default of --sessions. It is low because each echoed audio stream is decoded and encoded again;
see the relay's README for the cost."""


def transceiver(
    listen: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_TRANSCEIVER_LISTEN",
            help="UDP ADDRESS:PORT or [ADDRESS]:PORT for the media of all sessions.",
        ),
    ],
    signalling: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_TRANSCEIVER_SIGNALLING",
            help="TCP ADDRESS:PORT where allocators request sessions; also serves /metrics.",
        ),
    ],
    region_keys: Annotated[
        Path,
        typer.Option(
            envvar="FIRSTHOP_REGION_KEYS",
            help="JSON file of the region's password keys, mode 0600; read again on SIGHUP and"
            " when it changes.",
        ),
    ],
    wire_id: Annotated[
        int | None,
        typer.Option(
            envvar="FIRSTHOP_TRANSCEIVER_WIRE_ID",
            min=1,
            max=65535,
            help="This transceiver's wire id in the plan; optional with --id.",
        ),
    ] = None,
    route_keys: Annotated[
        Path | None,
        typer.Option(
            envvar="FIRSTHOP_ROUTE_KEYS",
            help="JSON file of route keys: mint credentials here, for clients without an allocator;"
            " needs --relays.",
        ),
    ] = None,
    relays: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_TRANSCEIVER_RELAYS",
            help="UDP ADDRESS:PORT of up to 3 relays for such clients, comma-separated, best"
            " first.",
        ),
    ] = "",
    sessions: Annotated[
        int,
        typer.Option(
            envvar="FIRSTHOP_TRANSCEIVER_SESSIONS",
            min=1,
            help="Maximum number of concurrent sessions.",
        ),
    ] = MAX_SESSIONS,
    transceiver_id: Annotated[
        str | None,
        typer.Option(
            "--id",
            envvar="FIRSTHOP_TRANSCEIVER_ID",
            callback=optional_slug,
            help="Id in the plan under which it registers and reports load. Needs --region,"
            " --api-url and a token.",
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            envvar="FIRSTHOP_TRANSCEIVER_REGION",
            callback=optional_slug,
            help="Id of the transceiver region.",
        ),
    ] = None,
    api_url: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_API_URL", help="URLs of the control planes, comma-separated."
        ),
    ] = "",
    token: Annotated[
        str | None,
        typer.Option(envvar="FIRSTHOP_TOKEN", help="Bearer token of the transceiver region."),
    ] = None,
    token_file: TokenFile = None,
    announce: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_TRANSCEIVER_ANNOUNCE",
            help="ADDRESS:PORT where relays reach it; default: --listen.",
        ),
    ] = "",
    announce_signalling: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_TRANSCEIVER_ANNOUNCE_SIGNALLING",
            help="ADDRESS:PORT where allocators reach it; default: --signalling.",
        ),
    ] = "",
    grace: Annotated[
        float | None,
        typer.Option(
            envvar="FIRSTHOP_TRANSCEIVER_GRACE_S",
            min=0,
            max=86400,
            help="On SIGTERM accept no new sessions, and end after the last one, at the latest"
            " after this number of seconds; a second SIGTERM ends it at once.",
        ),
    ] = None,
) -> None:
    """Run a transceiver that echoes all media. SIGUSR1 starts a drain, SIGUSR2 ends it."""
    named = listen_list(relays, "--relays")
    if (route_keys is None) != (not named) or len(named) > MAX_RELAYS:
        rule = f"takes 1 to {MAX_RELAYS} addresses with --route-keys, and none without"
        raise typer.BadParameter(rule, param_hint="--relays")
    settings = TransceiverSettings(
        listen=listen_one(listen, "--listen"),
        signalling=listen_one(signalling, "--signalling"),
        keys=region_keys,
        wire_id=wire_id,
        sessions=sessions,
        route_keys=route_keys,
        relays=tuple(named),
        grace_s=grace,
    )
    if transceiver_id is None:
        if wire_id is None:
            raise typer.BadParameter("is required without --id", param_hint="--wire-id")
        service = serve_transceiver(settings)
    else:
        if region is None:
            raise typer.BadParameter("is required with --id", param_hint="--region")
        media = _announced(announce, settings.listen, "--announce")
        door = _announced(announce_signalling, settings.signalling, "--announce-signalling")
        registration = _registration(region, media, door, sessions, wire_id)
        urls, secret = items(http_urls(api_url)), bearer_token(token, token_file)
        service = _enrolled(settings, transceiver_id, registration, urls, secret)
    try:
        run_until_signal(service)
    except (ListenError, FileError) as error:
        raise fail(str(error)) from None


async def _enrolled(
    settings: TransceiverSettings,
    name: str,
    registration: Registration,
    urls: list[str],
    token: str,
) -> None:
    async with ControlPlaneClient(urls, token) as control_plane:
        enrolment = Enrolment(name, registration, control_plane=control_plane)
        await serve_transceiver(settings, enrolment)


def _announced(text: str, listen: Listen, option: str) -> Listen:
    """The address that others can reach. Raises typer.BadParameter if it cannot be derived."""
    host, port = listen_one(text, option) if text else listen
    if ip_address(host).is_unspecified or port == 0:
        rule = f"must be an address and port that others can reach, not {host} port {port}"
        raise typer.BadParameter(rule, param_hint=option)
    return host, port


def _registration(
    region: str, media: Listen, door: Listen, sessions: int, wire_id: int | None
) -> Registration:
    family = "signalling_ipv6" if ":" in door[0] else "signalling_ipv4"
    fields = {
        "region": region,
        "host": media[0],
        "port": media[1],
        family: door[0],
        "signalling_port": door[1],
        "capacity": sessions,
        "wire_id": wire_id,
    }
    try:
        return Registration.model_validate(fields)
    except ValidationError as error:  # for example, an address with a scope id
        raise typer.BadParameter(error.errors()[0]["msg"], param_hint="--announce") from None
