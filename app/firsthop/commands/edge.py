"""`firsthop edge`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from firsthop.commands.options import (
    AllowLoopback,
    ApiUrls,
    GeoipAsn,
    GeoipCity,
    StateDir,
    TokenFile,
    bearer_token,
    items,
    listen_list,
    listen_option,
    networks,
)
from firsthop.commands.slugs import optional_slug
from firsthop.edge.settings import (
    AllocatorOptions,
    DnsOptions,
    EdgeSettings,
    FeedSettings,
)
from firsthop.edge.supervisor import run_edge
from firsthop.edge.workers.sockets import PortInUseError
from firsthop.process.takeover import TakeOverError
from firsthop_dns.answer.instance import MAX_NSID
from firsthop_dns.answer.rate_limit import TAILORED_A_SECOND
from firsthop_dns.wire.cookies import read_secrets
from firsthop_dns.wire.edns import PAYLOAD, PLAIN_PAYLOAD
from firsthop_geodata.errors import GeodataError
from firsthop_steering.plan.document import DocumentError


def edge(
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="FIRSTHOP_CONFIG", help="YAML document to answer from, without a control plane."
        ),
    ] = None,
    allow_loopback: AllowLoopback = False,
    api: ApiUrls = "http://127.0.0.1:8080",
    token: Annotated[
        str, typer.Option(envvar="FIRSTHOP_TOKEN", help="Bearer token with the role edge.")
    ] = "",
    token_file: TokenFile = None,
    snapshot_key: Annotated[
        Path | None,
        typer.Option(
            envvar="FIRSTHOP_SNAPSHOT_KEY",
            help="File with the public key with which snapshots are verified (snapshot.pub).",
        ),
    ] = None,
    accept_old_snapshots: Annotated[
        bool,
        typer.Option(
            "--accept-old-snapshots",
            envvar="FIRSTHOP_ACCEPT_OLD_SNAPSHOTS",
            help="Accept snapshots of any age from the feed, even if this edge has none yet.",
        ),
    ] = False,
    state_dir: StateDir = Path(".firsthop/edge"),
    dns: Annotated[
        str, listen_option("FIRSTHOP_DNS_LISTEN", "DNS over UDP and TCP", several=True)
    ] = "127.0.0.1:5300",
    dns_workers: Annotated[
        int,
        typer.Option(
            envvar="FIRSTHOP_DNS_WORKERS", min=0, max=256, help="DNS processes; 0: one per core."
        ),
    ] = 0,
    nsid: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_DNS_NSID",
            help="NSID string returned to clients that request it (RFC 5001).",
        ),
    ] = "",
    rate_limit: Annotated[
        int,
        typer.Option(
            envvar="FIRSTHOP_DNS_RATE_LIMIT",
            min=0,
            help="Steered answers per second to one /24 or /56, other answers in proportion;"
            " 0: no limit.",
        ),
    ] = TAILORED_A_SECOND,
    rate_limit_exempt: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_DNS_RATE_LIMIT_EXEMPT",
            help="Networks exempt from the rate limit, comma-separated; `none`: no network.",
        ),
    ] = "127.0.0.0/8,::1/128",
    max_udp: Annotated[
        int,
        typer.Option(
            envvar="FIRSTHOP_DNS_MAX_UDP",
            min=PLAIN_PAYLOAD,
            max=PAYLOAD,
            help="Octets of a DNS reply over UDP at most; longer ones are truncated (TC).",
        ),
    ] = PAYLOAD,
    ecs_from: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_DNS_ECS_FROM",
            help="Networks of the resolvers whose client subnet (ECS) is used, comma-separated;"
            " default: all; `none`: no network.",
        ),
    ] = "",
    cookie_secrets: Annotated[
        Path | None,
        typer.Option(
            envvar="FIRSTHOP_DNS_COOKIE_SECRETS",
            help="File with one or two DNS cookie secrets, each a line of 32 hex digits; the first"
            " signs. Default: derived from the credential keys.",
        ),
    ] = None,
    allocator: Annotated[
        str,
        listen_option("FIRSTHOP_ALLOCATOR_LISTEN", "allocation requests over HTTP", several=True),
    ] = "127.0.0.1:8081",
    allocator_public: Annotated[
        bool,
        typer.Option(
            envvar="FIRSTHOP_ALLOCATOR_PUBLIC",
            help="Serve clients without a token, each only for its own address.",
        ),
    ] = False,
    trusted_proxies: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_TRUSTED_PROXIES",
            help="Networks of proxies whose Forwarded headers are believed, comma-separated.",
        ),
    ] = "",
    allowed_origins: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_ALLOWED_ORIGINS",
            help="Origins of web pages that may call the allocator (CORS), comma-separated.",
        ),
    ] = "",
    allocator_demo: Annotated[
        bool,
        typer.Option(
            envvar="FIRSTHOP_ALLOCATOR_DEMO", help="Serve the demo page, /demo: a call to oneself."
        ),
    ] = False,
    allocator_demo_stage: Annotated[
        Path | None,
        typer.Option(envvar="FIRSTHOP_ALLOCATOR_DEMO_STAGE", hidden=True),  # of `firsthop up`
    ] = None,
    metrics: Annotated[
        str,
        listen_option("FIRSTHOP_METRICS_LISTEN", "/metrics, /readyz and /healthz", several=True),
    ] = "127.0.0.1:9153",
    geoip_city: GeoipCity = None,
    geoip_asn: GeoipAsn = None,
    region: Annotated[
        str | None,
        typer.Option(
            envvar="FIRSTHOP_EDGE_REGION",
            callback=optional_slug,
            help="Vantage at this edge; overrides verdicts for services with `view: local`.",
        ),
    ] = None,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over",
            envvar="FIRSTHOP_TAKE_OVER",
            help="Take over from an edge that runs on the same state folder, if there is one.",
        ),
    ] = False,
) -> None:
    """Answer DNS and allocations from snapshots of a control plane, or from a document."""
    settings = EdgeSettings(
        source=config or _feed(api, token, token_file, snapshot_key, any_age=accept_old_snapshots),
        allow_loopback=allow_loopback,
        state_dir=state_dir.resolve(),
        dns=listen_list(dns, "--dns"),
        dns_workers=dns_workers or len(os.sched_getaffinity(0)),
        allocator=listen_list(allocator, "--allocator"),
        metrics=listen_list(metrics, "--metrics"),
        geoip_city=geoip_city,
        geoip_asn=geoip_asn,
        allocator_options=AllocatorOptions(
            public=allocator_public,
            trusted_proxies=networks(trusted_proxies, "--trusted-proxies"),
            origins=tuple(items(allowed_origins)),
            demo=allocator_demo,
            demo_stage=allocator_demo_stage,
        ),
        dns_options=DnsOptions(
            nsid=_nsid(nsid),
            rate_limit=rate_limit,
            max_udp=max_udp,
            rate_limit_exempt=networks(rate_limit_exempt, "--rate-limit-exempt"),
            ecs_from=networks(ecs_from, "--ecs-from") if ecs_from.strip() else None,
            cookie_secrets=_cookie_secrets(cookie_secrets),
        ),
        region=region,
        take_over=take_over,
    )
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(run_edge(settings))
    except (PortInUseError, TakeOverError, GeodataError, DocumentError, OSError) as error:
        typer.echo(f"firsthop edge: {error}", err=True)
        raise typer.Exit(1) from None


def _feed(
    api: str, token: str, token_file: Path | None, snapshot_key: Path | None, *, any_age: bool
) -> FeedSettings:
    if snapshot_key is None:
        raise typer.BadParameter("give --config, or a token and --snapshot-key for a control plane")
    try:
        trusted = Ed25519PublicKey.from_public_bytes(bytes.fromhex(snapshot_key.read_text()))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(
            f"{snapshot_key}: must hold an Ed25519 public key in hex: {error}",
            param_hint="--snapshot-key",
        ) from None
    secret = bearer_token(token, token_file)
    return FeedSettings(urls=items(api), token=secret, trusted=trusted, any_age=any_age)


def _nsid(text: str) -> str:
    if len(text.encode(errors="surrogateescape")) > MAX_NSID or not text.isprintable():
        rule = f"must be printable text of at most {MAX_NSID} octets"
        raise typer.BadParameter(rule, param_hint="--nsid")
    return text


def _cookie_secrets(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        return tuple(each.hex() for each in read_secrets(path.read_text()))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path}: {error}", param_hint="--cookie-secrets") from None
