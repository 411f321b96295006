"""PowerDNS Authoritative with the geoip backend: YAML zone, MMDB, one receiver thread."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.peers.case import SERVICE, TTL, ZONE, Case
from bench.peers.process import AbsentError, Server, first_line, free_port, start


def config(case: Case, port: int, folder: Path) -> str:
    """The text of pdns.conf.

    With one distributor thread the receiver answers itself, without a queue between threads, which
    is PowerDNS's cheapest mode. Its caches have default settings; answers that depend on ECS bypass
    them.
    """
    return f"""launch=geoip
geoip-zones-file={folder}/zone.yaml
geoip-database-files=mmdb:{case.database}
edns-subnet-processing=yes
local-address=127.0.0.1
local-port={port}
receiver-threads=1
distributor-threads=1
socket-dir={folder}
config-dir={folder}
module-dir={_modules()}
daemon=no
guardian=no
loglevel=3
security-poll-suffix=
version-string=anonymous
"""


def zone(case: Case) -> str:
    """The YAML zone: the service points to one name per country (`%cc`, lower case)."""
    apex = ZONE.rstrip(".")
    service = SERVICE.rstrip(".")
    countries = "".join(
        f"      {country.code.lower()}.geo.{apex}:\n        - a: {country.region.address}\n"
        for country in case.countries
    )
    return f"""domains:
  - domain: {apex}
    ttl: {TTL}
    records:
      {apex}:
        - soa: ns1.{apex} hostmaster.{apex} 1 7200 900 1209600 60
        - ns: ns1.{apex}
      ns1.{apex}:
        - a: 127.0.0.1
{countries}    services:
      {service}: '%cc.geo.{apex}'
"""


def _modules() -> Path | None:
    found = next(iter(sorted(Path("/usr/lib").glob("*/pdns/libgeoipbackend.so"))), None)
    return found and found.parent


def start_server(case: Case, folder: Path, cpu: int | None) -> Server:
    """Writes the files and starts it. Raises AbsentError."""
    program = shutil.which("pdns_server", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        raise AbsentError("pdns_server is not installed (Debian: pdns-server, pdns-backend-geoip)")
    if _modules() is None:
        raise AbsentError("PowerDNS's geoip backend is not installed (Debian: pdns-backend-geoip)")
    port = free_port()
    (folder / "pdns.conf").write_text(config(case, port, folder))
    (folder / "zone.yaml").write_text(zone(case))
    banner = first_line([program, "--version"], "Authoritative Server")
    return start(
        "powerdns",
        [program, f"--config-dir={folder}"],
        version=banner.partition("Authoritative Server ")[2].partition(" ")[0],
        port=port,
        folder=folder,
        cpu=cpu,
    )
