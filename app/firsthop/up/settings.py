"""Settings of `firsthop up`."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from firsthop.addresses import Listen


@dataclass(frozen=True, slots=True)
class UpSettings:
    """Listening addresses, the state folder, and the loopback networks of the demo."""

    state_dir: Path
    dns: Listen
    allocator: Listen
    controlplane: Listen
    metrics: Listen
    relay_network: IPv4Network
    transceiver_network: IPv4Network
    database_url: str | None
    geoip_city: Path | None
    geoip_asn: Path | None
    dns_workers: int
