"""`firsthop relay-worker`: what a relay with several workers starts; not for people."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Annotated

import typer

from firsthop.relay import worker_process
from firsthop_relay.limits import Limits

Files = Annotated[str, typer.Option(help="File descriptors, comma-separated.")]


def relay_worker(
    sockets: Files,
    limits: Annotated[str, typer.Option(help="`Limits` as JSON.")],
    successor: Annotated[int, typer.Option(help="Where the flows go in the end.")],
    predecessors: Files = "",
    journal: Annotated[Path | None, typer.Option(help="Where its flows are written down.")] = None,
) -> None:
    """Read some sockets of a relay."""
    asyncio.run(
        worker_process.run(
            _inherited(sockets),
            limits=Limits(**json.loads(limits)),
            journal=journal,
            predecessors=_inherited(predecessors),
            successor=socket.socket(fileno=successor),
        )
    )


def _inherited(files: str) -> list[socket.socket]:
    return [socket.socket(fileno=int(each)) for each in files.split(",") if each]
