"""`firsthop up`: everything on one machine."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated

import typer

from firsthop.commands.options import (
    GeoipAsn,
    GeoipCity,
    StateDir,
    listen_one,
    listen_option,
    network,
)
from firsthop.edge.workers.sockets import PortInUseError
from firsthop.postgres.server import PostgresError
from firsthop.up.run import Up, UpError
from firsthop.up.settings import UpSettings
from firsthop.up.specs import LOOPBACK


def up(
    state_dir: StateDir = Path(".firsthop"),
    dns: Annotated[
        str, listen_option("FIRSTHOP_DNS_LISTEN", "DNS over UDP and TCP")
    ] = "127.0.0.1:5300",
    allocator: Annotated[
        str, listen_option("FIRSTHOP_ALLOCATOR_LISTEN", "allocation requests over HTTP")
    ] = "127.0.0.1:8081",
    controlplane: Annotated[
        str, listen_option("FIRSTHOP_CONTROLPLANE_LISTEN", "the API")
    ] = "127.0.0.1:8080",
    metrics: Annotated[
        str, listen_option("FIRSTHOP_METRICS_LISTEN", "/metrics, /readyz and /healthz")
    ] = "127.0.0.1:9153",
    relay_network: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_RELAY_NETWORK",
            help="Loopback network of the demo's relays; read at the first start only.",
        ),
    ] = "127.0.10.0/24",
    transceiver_network: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_TRANSCEIVER_NETWORK",
            help="Loopback network of the demo's transceivers; read at the first start only.",
        ),
    ] = "127.0.20.0/24",
    database_url: Annotated[
        str | None,
        typer.Option(
            envvar="FIRSTHOP_DATABASE_URL",
            help="URL of an existing PostgreSQL database; default: start a server of its own.",
        ),
    ] = None,
    geoip_city: GeoipCity = None,
    geoip_asn: GeoipAsn = None,
    dns_workers: Annotated[
        int, typer.Option(envvar="FIRSTHOP_DNS_WORKERS", min=1, max=64, help="DNS processes.")
    ] = 1,
) -> None:
    """Run everything on this machine: database, control plane, edge, probers, demo relays."""
    settings = UpSettings(
        state_dir=state_dir.resolve(),
        dns=listen_one(dns, "--dns"),
        allocator=listen_one(allocator, "--allocator"),
        controlplane=listen_one(controlplane, "--controlplane"),
        metrics=listen_one(metrics, "--metrics"),
        relay_network=_loopback(relay_network, "--relay-network"),
        transceiver_network=_loopback(transceiver_network, "--transceiver-network"),
        database_url=database_url,
        geoip_city=geoip_city,
        geoip_asn=geoip_asn,
        dns_workers=dns_workers,
    )
    try:
        asyncio.run(Up(settings, lambda text: typer.echo(f"firsthop: {text}")).run())
    except (UpError, PortInUseError, PostgresError, OSError) as error:
        typer.echo(f"firsthop up: {error}", err=True)
        raise typer.Exit(1) from None


def _loopback(text: str, option: str) -> IPv4Network:
    found = network(text, option)
    if not isinstance(found, IPv4Network) or not found.subnet_of(LOOPBACK) or found.prefixlen > 28:
        raise typer.BadParameter("must be a /28 or wider inside 127.0.0.0/8", param_hint=option)
    return found
