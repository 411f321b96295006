"""NSD on the sample zone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.peers.process import Server, first_line, free_port, start

from wire.servers.same import APEX, COOKIE_SECRET, NSID, ZONE_FILE, program


def config(port: int, folder: Path, zones: Mapping[str, Path]) -> str:
    """The text of nsd.conf."""
    files = "\n".join(
        f'zone:\n    name: {apex}\n    zonefile: "{file}"' for apex, file in zones.items()
    )
    return f"""server:
    ip-address: 127.0.0.1@{port}
    username: ""
    chroot: ""
    database: ""
    zonesdir: "{folder}"
    pidfile: "{folder}/nsd.pid"
    xfrdfile: "{folder}/xfrd.state"
    xfrdir: "{folder}"
    zonelistfile: "{folder}/zone.list"
    server-count: 1
    nsid: "ascii_{NSID}"
    answer-cookie: yes
    cookie-secret: {COOKIE_SECRET}
    cookie-secret-file: "{folder}/secrets"
    hide-version: yes
    refuse-any: yes
    rrl-ratelimit: 0
    minimal-responses: no
remote-control:
    control-enable: no
{files}
"""


def start_server(
    folder: Path, zones: Mapping[str, Path] = {APEX: ZONE_FILE}
) -> tuple[Server, frozenset[str]]:
    """Writes the files and starts it; raises AbsentError."""
    nsd = program("nsd", "nsd")
    port = free_port()
    (folder / "nsd.conf").write_text(config(port, folder, zones))
    version = first_line([nsd, "-v"], "version").rpartition(" ")[2]
    command = [nsd, "-d", "-c", folder / "nsd.conf"]
    return start("NSD", command, version=version, port=port, folder=folder, cpu=None), frozenset()
