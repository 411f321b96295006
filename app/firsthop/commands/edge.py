"""`firsthop edge`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from firsthop.commands.options import GeoipAsn, GeoipCity, StateDir, listen_list, network
from firsthop.commands.process import bearer_token
from firsthop.edge.settings import AllocatorOptions, EdgeSettings, Feed
from firsthop.edge.supervisor import Edge, PortInUseError
from firsthop_geodata.errors import GeodataError
from firsthop_steering.document import DocumentError


def edge(
    config: Annotated[
        Path | None,
        typer.Option(envvar="FIRSTHOP_CONFIG", help="A YAML document: no control plane."),
    ] = None,
    api: Annotated[
        str, typer.Option(envvar="FIRSTHOP_API_URL", help="Control-plane URLs, comma-separated.")
    ] = "http://127.0.0.1:8080",
    token: Annotated[
        str, typer.Option(envvar="FIRSTHOP_TOKEN", help="A token with the role edge.")
    ] = "",
    token_file: Annotated[
        Path | None, typer.Option(envvar="FIRSTHOP_TOKEN_FILE", help="File that holds the token.")
    ] = None,
    snapshot_key: Annotated[
        Path | None,
        typer.Option(envvar="FIRSTHOP_SNAPSHOT_KEY", help="File of the snapshots' public key."),
    ] = None,
    state_dir: StateDir = Path(".firsthop/edge"),
    dns: Annotated[str, typer.Option(envvar="FIRSTHOP_DNS_LISTEN")] = "127.0.0.1:5300",
    dns_workers: Annotated[
        int, typer.Option(envvar="FIRSTHOP_DNS_WORKERS", min=0, max=256, help="0: one a core.")
    ] = 0,
    allocator: Annotated[
        str, typer.Option(envvar="FIRSTHOP_ALLOCATOR_LISTEN", help="`none` for none.")
    ] = "127.0.0.1:8081",
    allocator_public: Annotated[
        bool,
        typer.Option(
            envvar="FIRSTHOP_ALLOCATOR_PUBLIC", help="Serve anybody, for their own address only."
        ),
    ] = False,
    trusted_proxies: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_TRUSTED_PROXIES",
            help="Comma-separated networks whose Forwarded headers count.",
        ),
    ] = "",
    allowed_origins: Annotated[
        str,
        typer.Option(envvar="FIRSTHOP_ALLOWED_ORIGINS", help="Web origins, comma-separated."),
    ] = "",
    metrics: Annotated[str, typer.Option(envvar="FIRSTHOP_METRICS_LISTEN")] = "127.0.0.1:9153",
    geoip_city: GeoipCity = None,
    geoip_asn: GeoipAsn = None,
) -> None:
    """Answer DNS and allocations from snapshots of a control plane, or from a document."""
    settings = EdgeSettings(
        source=config or _feed(api, token, token_file, snapshot_key),
        state_dir=state_dir.resolve(),
        dns=listen_list(dns, "--dns"),
        dns_workers=dns_workers or len(os.sched_getaffinity(0)),
        allocator=listen_list(allocator, "--allocator"),
        metrics=listen_list(metrics, "--metrics"),
        geoip_city=geoip_city,
        geoip_asn=geoip_asn,
        allocator_options=AllocatorOptions(
            public=allocator_public,
            trusted_proxies=tuple(
                network(each, "--trusted-proxies") for each in _items(trusted_proxies)
            ),
            origins=tuple(_items(allowed_origins)),
        ),
    )
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(Edge(settings).run())
    except (PortInUseError, GeodataError, DocumentError, OSError) as error:
        typer.echo(f"firsthop edge: {error}", err=True)
        raise typer.Exit(1) from None


def _feed(api: str, token: str, token_file: Path | None, snapshot_key: Path | None) -> Feed:
    if snapshot_key is None:
        raise typer.BadParameter("give --config, or a token and --snapshot-key for a control plane")
    try:
        trusted = Ed25519PublicKey.from_public_bytes(bytes.fromhex(snapshot_key.read_text()))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(
            f"{snapshot_key}: must hold an Ed25519 public key in hex: {error}",
            param_hint="--snapshot-key",
        ) from None
    return Feed(urls=_items(api), token=bearer_token(token, token_file), trusted=trusted)


def _items(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]
