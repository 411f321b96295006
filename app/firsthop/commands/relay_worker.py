"""`firsthop relay-worker`: started by a relay with several workers; not for people."""

from __future__ import annotations

import asyncio
import json
import socket
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from firsthop.relay import worker_process
from firsthop_relay.flows.limits import Limits


def main(arguments: Sequence[str]) -> None:
    """Serve some of the sockets of a relay (started by its supervisor)."""
    options = ArgumentParser("firsthop relay-worker", description=main.__doc__, allow_abbrev=False)
    files = "File descriptors, comma-separated."
    options.add_argument("--sockets", required=True, type=_inherited, help=files)
    options.add_argument("--limits", required=True, help="`Limits` as JSON.")
    options.add_argument(
        "--successor",
        required=True,
        type=int,
        help="File descriptor that the flows are sent to at take-over.",
    )
    options.add_argument("--predecessors", default=[], type=_inherited, help=files)
    options.add_argument("--journal", type=Path, help="File of the flow journal.")
    given = options.parse_args(arguments)
    asyncio.run(
        worker_process.run(
            given.sockets,
            limits=Limits(**json.loads(given.limits)),
            journal=given.journal,
            predecessors=given.predecessors,
            successor=socket.socket(fileno=given.successor),
        )
    )


def _inherited(files: str) -> list[socket.socket]:
    return [socket.socket(fileno=int(each)) for each in files.split(",") if each]
