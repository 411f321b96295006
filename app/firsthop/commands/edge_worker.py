"""`firsthop edge-worker`: what an edge's supervisor starts; not for people."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from ipaddress import ip_network
from typing import Annotated

import typer

from firsthop.commands.options import listen_list

app = typer.Typer(no_args_is_help=True, help="A worker process of an edge.")

Listening = Annotated[list[str], typer.Option("--listen")]


@app.command()
def dns(listen: Listening) -> None:
    """Answer DNS."""
    from firsthop.edge import dns_worker  # each worker imports its own half

    _run(dns_worker.run(listen_list(",".join(listen), "--listen")))


@app.command()
def allocator(
    listen: Listening,
    public: Annotated[bool, typer.Option("--public")] = False,
    trusted_proxy: Annotated[list[str] | None, typer.Option("--trusted-proxy")] = None,
    origin: Annotated[list[str] | None, typer.Option("--origin")] = None,
) -> None:
    """Answer allocations."""
    from firsthop.edge import allocator_worker
    from firsthop_allocator.settings import AllocatorSettings

    settings = AllocatorSettings(
        public=public,
        trusted_proxies=tuple(ip_network(each) for each in trusted_proxy or ()),
        cors_origins=tuple(origin or ()),
    )
    _run(allocator_worker.run(listen_list(",".join(listen), "--listen"), settings))


def _run(worker: Coroutine[None, None, None]) -> None:
    """Runs it; what keeps it from listening goes to the log, and the supervisor tries again."""
    try:
        asyncio.run(worker)
    except OSError as error:
        typer.echo(f"firsthop edge-worker: {error}", err=True)
        raise typer.Exit(1) from None
