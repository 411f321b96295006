"""`firsthop transceiver`: the reference media end, which sends all media back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from firsthop.commands.options import listen_list, listen_one
from firsthop.commands.process import fail
from firsthop.commands.running import run_until_signal
from firsthop_relay.listening import ListenError
from firsthop_relay.transceiver.service import TransceiverSettings, serve_transceiver
from firsthop_relay.watched import FileError

MOST_RELAYS = 3
MOST_SESSIONS = 100
"""Each echoed audio stream is decoded and encoded again; see the relay's README for its cost."""


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
            help="TCP ADDRESS:PORT where allocators ask for sessions, and for /metrics.",
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
        int,
        typer.Option(
            envvar="FIRSTHOP_TRANSCEIVER_WIRE_ID",
            min=1,
            max=65535,
            help="This transceiver's wire id, as the plan has it.",
        ),
    ],
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
            help="UDP ADDRESS:PORT of up to 3 relays to name then, comma-separated, best first.",
        ),
    ] = "",
    sessions: Annotated[
        int, typer.Option(envvar="FIRSTHOP_TRANSCEIVER_SESSIONS", min=1, help="The most at a time.")
    ] = MOST_SESSIONS,
) -> None:
    """Run one transceiver. SIGUSR1 has it take no new sessions, SIGUSR2 takes that back."""
    named = listen_list(relays, "--relays")
    if (route_keys is None) != (not named) or len(named) > MOST_RELAYS:
        rule = f"takes 1 to {MOST_RELAYS} addresses with --route-keys, and none without"
        raise typer.BadParameter(rule, param_hint="--relays")
    settings = TransceiverSettings(
        listen=listen_one(listen, "--listen"),
        signalling=listen_one(signalling, "--signalling"),
        keys=region_keys,
        wire_id=wire_id,
        sessions=sessions,
        route_keys=route_keys,
        relays=tuple(named),
    )
    try:
        run_until_signal(serve_transceiver(settings))
    except (ListenError, FileError) as error:
        raise fail(str(error)) from None
