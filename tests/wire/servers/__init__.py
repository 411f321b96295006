"""The reference servers on the sample zone: each a child process on a high port of 127.0.0.1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.peers.process import Server

from wire.servers import bind, gdnsd, knot, nsd

Start = Callable[[Path], tuple[Server, frozenset[str]]]
"""Starts it with its files in that empty folder; gives what of the zone it could not load."""
SERVERS: dict[str, Start] = {
    "Knot": knot.start_server,
    "NSD": nsd.start_server,
    "BIND": bind.start_server,
    "gdnsd": gdnsd.start_server,
}
