"""gdnsd with its geoip plugin: an explicit country map, or automatic nearest datacentres.

In the country map each list has one datacentre (no failover order), so that gdnsd can merge
networks as far as its answers allow, which is its best case. One UDP thread, like all servers.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from bench.peers.case import REGIONS, SERVICE, TTL, ZONE, Case, Region
from bench.peers.process import AbsentError, Server, first_line, free_port, start


def country_map(case: Case) -> str:
    """The map of bench/dns.py: country → region."""
    rows = sorted(case.countries, key=lambda country: (country.continent, country.code))
    continents = "\n".join(
        f"      {continent} => {{ "
        + ", ".join(f"{each.code} => [{each.region.id}]" for each in group)
        + " }"
        for continent, group in groupby(rows, key=lambda country: country.continent)
    )
    return f"map => {{\n{continents}\n    }}"


def nearest_map(regions: Sequence[Region], limit: int) -> str:
    """Maps each address to its `limit` nearest regions in order; unlocated ones to the first
    regions."""
    places = ", ".join(f"{each.id} => [{each.latitude}, {each.longitude}]" for each in regions)
    return f"auto_dc_coords => {{ {places} }}\n    auto_dc_limit => {limit}"


def config(database: Path, regions: Sequence[Region], world: str, port: int, folder: Path) -> str:
    """The text of gdnsd's `config`; `world` is the map's contents beside database and regions."""
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
    geoip2_db => {database}
    datacenters => [ {", ".join(region.id for region in regions)} ]
    {world}
  }} }}
  resources => {{ relay => {{
    map => world
    service_types => up
    dcmap => {{ {", ".join(f"{region.id} => {region.address}" for region in regions)} }}
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
    """Writes the files and starts it with the case's country map. Raises AbsentError."""
    return start_map(case.database, REGIONS, country_map(case), folder, cpu=cpu)


def start_map(
    database: Path, regions: Sequence[Region], world: str, folder: Path, *, cpu: int | None = None
) -> Server:
    """Writes the files and starts it with a map of these regions. Raises AbsentError."""
    program = shutil.which("gdnsd", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise AbsentError("gdnsd is not installed (Debian: gdnsd)")
    port = free_port()
    (folder / "zones").mkdir()
    (folder / "config").write_text(config(database, regions, world, port, folder))
    (folder / "zones" / ZONE.rstrip(".")).write_text(zone())
    return start(
        "gdnsd",
        [program, "-c", folder, "start"],
        version=first_line([program, "--version"], "gdnsd version").removeprefix("gdnsd version "),
        port=port,
        folder=folder,
        cpu=cpu,
    )
