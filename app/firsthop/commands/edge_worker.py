"""`firsthop edge-worker`: started by an edge's supervisor; not for people."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="A worker process of an edge.")

Inherited = Annotated[str, typer.Option("--sockets", help="File descriptors, comma-separated.")]


@app.command()
def dns(sockets: Inherited) -> None:
    """Answer DNS on socket pairs, UDP and TCP."""
    from firsthop.edge.workers import dns_worker  # each kind of worker imports its own code only
    from firsthop_dns.serve.listening import Pair

    inherited = _inherited(sockets)
    _run(dns_worker.run([*map(Pair, inherited[::2], inherited[1::2])]))


@app.command()
def allocator(
    sockets: Inherited,
    public: Annotated[bool, typer.Option("--public")] = False,
    trusted_proxy: Annotated[list[str] | None, typer.Option("--trusted-proxy")] = None,
    origin: Annotated[list[str] | None, typer.Option("--origin")] = None,
    region: Annotated[str | None, typer.Option("--region")] = None,
    demo: Annotated[bool, typer.Option("--demo")] = False,
    demo_stage: Annotated[Path | None, typer.Option("--demo-stage")] = None,
) -> None:
    """Answer allocation requests."""
    from firsthop.edge.workers import allocator_worker
    from firsthop_allocator.settings import AllocatorSettings

    settings = AllocatorSettings(
        public=public,
        trusted_proxies=tuple(ip_network(each) for each in trusted_proxy or ()),
        cors_origins=tuple(origin or ()),
        demo=demo,
        demo_stage=demo_stage,
    )
    _run(allocator_worker.run(_inherited(sockets), settings, vantage=region))


def _inherited(files: str) -> list[socket.socket]:
    return [socket.socket(fileno=int(each)) for each in files.split(",")]


def _run(worker: Coroutine[None, None, None]) -> None:
    """Runs the worker; an OSError is printed on stderr and ends the process with status 1."""
    try:
        asyncio.run(worker)
    except OSError as error:
        typer.echo(f"firsthop edge-worker: {error}", err=True)
        raise typer.Exit(1) from None
