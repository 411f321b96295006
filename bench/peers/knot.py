"""Knot DNS with mod-geoip in geodb mode, one UDP worker."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.peers.case import REGIONS, SERVICE, TTL, ZONE, Case
from bench.peers.process import AbsentError, Server, first_line, free_port, start


def config(case: Case, port: int, folder: Path) -> str:
    """The text of knot.conf."""
    return f"""server:
    rundir: "{folder}"
    listen: 127.0.0.1@{port}
    edns-client-subnet: on
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: warning
database:
    storage: "{folder}"
mod-geoip:
  - id: world
    config-file: "{folder}/geo.conf"
    ttl: {TTL}
    mode: geodb
    geodb-file: "{case.database}"
    geodb-key: country/iso_code
zone:
  - domain: {ZONE}
    storage: "{folder}"
    file: zone
    journal-content: none
    zonefile-load: whole
    zonefile-sync: -1
    module: mod-geoip/world
"""


def answers(case: Case) -> str:
    """The text of the module's map: an address for every country."""
    return f"{SERVICE}\n".replace(".\n", ".:\n") + "".join(
        f'  - geo: "{country.code}"\n    A: {country.region.address}\n'
        for country in case.countries
    )


def zone() -> str:
    """The zone file; the module needs a default record for every name that it answers."""
    return f"""{ZONE} {TTL} SOA ns1.{ZONE} hostmaster.{ZONE} 1 7200 900 1209600 60
{ZONE} {TTL} NS ns1.{ZONE}
ns1.{ZONE} {TTL} A 127.0.0.1
{SERVICE} {TTL} A {REGIONS[0].address}
"""


def start_server(case: Case, folder: Path, cpu: int | None) -> Server:
    """Writes the files and starts it. Raises AbsentError."""
    program = shutil.which("knotd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise AbsentError("knotd is not installed (Debian: knot and knot-module-geoip)")
    if not any(Path("/usr/lib").glob("*/knot/modules-*/geoip.so")):
        raise AbsentError("Knot's module geoip is not installed (Debian: knot-module-geoip)")
    port = free_port()
    (folder / "knot.conf").write_text(config(case, port, folder))
    (folder / "geo.conf").write_text(answers(case))
    (folder / "zone").write_text(zone())
    return start(
        "knot",
        [program, "-c", folder / "knot.conf"],
        version=first_line([program, "-V"], "version").rpartition(" ")[2],
        port=port,
        folder=folder,
        cpu=cpu,
    )
