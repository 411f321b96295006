"""`firsthop relay`: forwards media by the ufrag of its first packet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from firsthop.commands.options import listen_list, listen_one
from firsthop.commands.process import fail, run_until_signal
from firsthop.edge.takeover import TakeOverError
from firsthop.relay.settings import RelaySettings
from firsthop.relay.supervisor import serve
from firsthop_relay.limits import Limits
from firsthop_relay.listening import ListenError
from firsthop_relay.shared import connect
from firsthop_relay.watched import FileError

_DEFAULTS = Limits()


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
    routes: Annotated[
        Path | None,
        typer.Option(
            envvar="FIRSTHOP_ROUTES",
            help="YAML file of regions and their upstreams; read again on SIGHUP and when it"
            " changes. Without it only probes are answered.",
        ),
    ] = None,
    listen_tcp: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_RELAY_LISTEN_TCP",
            help="Addresses and ports for ICE-TCP (RFC 6544), comma-separated; default: none.",
        ),
    ] = "",
    metrics: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_RELAY_METRICS",
            help="HTTP ADDRESS:PORT for /metrics and /healthz; default: none.",
        ),
    ] = "",
    workers: Annotated[
        int,
        typer.Option(envvar="FIRSTHOP_RELAY_WORKERS", min=0, max=256, help="0: one a core."),
    ] = 1,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            envvar="FIRSTHOP_RELAY_STATE_DIR",
            help="Folder of this one relay, for its flow journal and --take-over; default: none.",
        ),
    ] = None,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over",
            envvar="FIRSTHOP_RELAY_TAKE_OVER",
            help="Take the place of a relay that runs on the same state folder, flows and all.",
        ),
    ] = False,
    flow_store: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_FLOW_STORE",
            help="redis:// URL where relays behind one address share their flows; default: none.",
        ),
    ] = "",
    max_flows: Annotated[
        int,
        typer.Option(envvar="FIRSTHOP_RELAY_MAX_FLOWS", min=1, help="Of all workers together."),
    ] = _DEFAULTS.flows,
    max_unconfirmed: Annotated[
        int,
        typer.Option(
            envvar="FIRSTHOP_RELAY_MAX_UNCONFIRMED", min=1, help="Of them, not yet confirmed."
        ),
    ] = _DEFAULTS.unconfirmed,
    max_flows_per_prefix: Annotated[
        int,
        typer.Option(
            envvar="FIRSTHOP_RELAY_MAX_FLOWS_PER_PREFIX", min=1, help="Of one /24 or IPv6 /56."
        ),
    ] = _DEFAULTS.flows_per_prefix,
    flow_idle: Annotated[
        float,
        typer.Option(
            envvar="FIRSTHOP_RELAY_FLOW_IDLE",
            min=1,
            help="Seconds without a packet from the client after which a flow ends.",
        ),
    ] = _DEFAULTS.idle_s,
    flow_lifetime: Annotated[
        float,
        typer.Option(
            envvar="FIRSTHOP_RELAY_FLOW_LIFETIME",
            min=1,
            help="Seconds after which a flow ends, however busy.",
        ),
    ] = _DEFAULTS.lifetime_s,
) -> None:
    """Run one relay: SIGUSR1 drains it, SIGUSR2 takes that back."""
    udp = listen_list(",".join(listen), "--listen")
    if not udp:
        raise typer.BadParameter("needs at least one ADDRESS:PORT", param_hint="--listen")
    if take_over and state_dir is None:
        raise typer.BadParameter("needs --state-dir", param_hint="--take-over")
    settings = RelaySettings(
        udp=udp,
        tcp=listen_list(listen_tcp, "--listen-tcp"),
        route_keys=route_keys,
        routes=routes,
        metrics=listen_one(metrics, "--metrics") if metrics else None,
        workers=workers or len(os.sched_getaffinity(0)),
        limits=Limits(max_flows, max_unconfirmed, max_flows_per_prefix, flow_idle, flow_lifetime),
        state_dir=state_dir,
        flow_store=_redis(flow_store),
        take_over=take_over,
    )
    try:
        run_until_signal(serve(settings))
    except (ListenError, FileError, TakeOverError) as error:
        raise fail(str(error)) from None


def _redis(url: str) -> str:
    """Refuse what no client of Redis can use, before the workers try."""
    if url:
        try:
            connect(url)
        except ImportError:
            rule = "needs the Redis client; install firsthop[redis]"
            raise typer.BadParameter(rule, param_hint="--flow-store") from None
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--flow-store") from None
    return url
