"""`firsthop relay`: the UDP port that answers authenticated probes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from firsthop.commands.options import listen_list, listen_one
from firsthop.commands.process import fail, run_until_signal
from firsthop_relay.keyfile import KeyFileError
from firsthop_relay.server import ListenError
from firsthop_relay.service import serve_relay


def relay(
    listen: Annotated[
        list[str],
        typer.Option(
            envvar="FIRSTHOP_RELAY_LISTEN",
            help="UDP address and port, ADDRESS:PORT or [ADDRESS]:PORT; repeat, or use commas.",
        ),
    ],
    route_keys: Annotated[
        Path,
        typer.Option(
            envvar="FIRSTHOP_ROUTE_KEYS",
            help="JSON file of route keys, mode 0600; read again on SIGHUP and when it changes.",
        ),
    ],
    metrics: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_RELAY_METRICS",
            help="HTTP ADDRESS:PORT for /metrics and /healthz; default: none.",
        ),
    ] = "",
) -> None:
    """Run one relay."""
    udp = listen_list(",".join(listen), "--listen")
    if not udp:
        raise typer.BadParameter("needs at least one ADDRESS:PORT", param_hint="--listen")
    http = listen_one(metrics, "--metrics") if metrics else None
    try:
        run_until_signal(serve_relay(udp, route_keys, metrics=http))
    except (ListenError, KeyFileError) as error:
        raise fail(str(error)) from None
