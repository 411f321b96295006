"""gdnsd with its geoip plugin: an explicit country map, one datacentre a country.

One datacentre a list (no failover order) lets gdnsd merge networks as far as its answers allow,
which is its best case; one UDP thread, as every server here has one.
"""

from __future__ import annotations

import shutil
from itertools import groupby
from pathlib import Path

from bench.peers.case import REGIONS, SERVICE, TTL, ZONE, Case
from bench.peers.process import AbsentError, Server, first_line, free_port, start


def config(case: Case, port: int, folder: Path) -> str:
    """The text of gdnsd's `config`."""
    rows = sorted(case.countries, key=lambda country: (country.continent, country.code))
    continents = "\n".join(
        f"      {continent} => {{ "
        + ", ".join(f"{each.code} => [{each.region.id}]" for each in group)
        + " }"
        for continent, group in groupby(rows, key=lambda country: country.continent)
    )
    return f"""options => {{
  listen => [ 127.0.0.1:{port} ]
  udp_threads = 1
  tcp_threads = 1
  run_dir = {folder}/run
  state_dir = {folder}/state
  zones_default_ttl = {TTL}
}}
plugins => {{ geoip => {{
  maps => {{ world => {{
    geoip2_db => {case.database}
    datacenters => [ {", ".join(region.id for region in REGIONS)} ]
    map => {{
{continents}
    }}
  }} }}
  resources => {{ relay => {{
    map => world
    service_types => up
    dcmap => {{ {", ".join(f"{region.id} => {region.address}" for region in REGIONS)} }}
  }} }}
}} }}
"""


def zone() -> str:
    """The text of the zone file."""
    return f"""@ {TTL} SOA ns1 hostmaster 1 7200 900 1209600 60
@ {TTL} NS ns1
ns1 {TTL} A 127.0.0.1
{SERVICE} {TTL} DYNA geoip!relay
"""


def start_server(case: Case, folder: Path, cpu: int | None) -> Server:
    """Write the files and start it; raises AbsentError."""
    program = shutil.which("gdnsd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise AbsentError("gdnsd is not installed (Debian: gdnsd)")
    port = free_port()
    (folder / "zones").mkdir()
    (folder / "config").write_text(config(case, port, folder))
    (folder / "zones" / ZONE.rstrip(".")).write_text(zone())
    return start(
        "gdnsd",
        [program, "-c", folder, "start"],
        version=first_line([program, "--version"], "gdnsd version").removeprefix("gdnsd version "),
        port=port,
        folder=folder,
        cpu=cpu,
    )
