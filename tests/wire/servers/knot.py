"""Knot DNS on the sample zone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.peers.process import Server, first_line, free_port, start

from wire.servers.same import APEX, COOKIE_SECRET, NSID, ZONE_FILE, program


def config(port: int, folder: Path, zones: Mapping[str, Path]) -> str:
    """The text of knot.conf."""
    files = "\n".join(f'  - domain: {apex}\n    file: "{file}"' for apex, file in zones.items())
    return f"""server:
    rundir: "{folder}"
    listen: 127.0.0.1@{port}
    nsid: "{NSID}"
    edns-client-subnet: on
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: warning
database:
    storage: "{folder}"
mod-cookies:
  - id: all
    secret: 0x{COOKIE_SECRET}
    badcookie-slip: 1
template:
  - id: default
    global-module: mod-cookies/all
    journal-content: none
    zonefile-load: whole
    zonefile-sync: -1
zone:
{files}
"""


def start_server(
    folder: Path, zones: Mapping[str, Path] = {APEX: ZONE_FILE}
) -> tuple[Server, frozenset[str]]:
    """Writes the files and starts it; raises AbsentError."""
    knotd = program("knotd", "knot")
    port = free_port()
    (folder / "knot.conf").write_text(config(port, folder, zones))
    version = first_line([knotd, "-V"], "version").rpartition(" ")[2]
    command = [knotd, "-c", folder / "knot.conf"]
    return start("Knot", command, version=version, port=port, folder=folder, cpu=None), frozenset()
