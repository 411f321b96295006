"""The DNS servers that are compared, in the order of their turns.

A server is a module with `start_server(case, folder, cpu)`, which writes its configuration into
`folder` (empty, temporary) and starts it as a child, or raises `AbsentError`. Nothing is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from bench.peers import echo, firsthop, gdnsd, knot, powerdns
from bench.peers.case import Case
from bench.peers.process import Server

PEERS: Mapping[str, Callable[[Case, Path, int | None], Server]] = {
    "echo": echo.start_server,
    "gdnsd": gdnsd.start_server,
    "knot": knot.start_server,
    "powerdns": powerdns.start_server,
    "firsthop": firsthop.start_server,
}
REFERENCE = "gdnsd"
