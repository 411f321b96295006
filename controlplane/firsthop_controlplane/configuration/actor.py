"""The author of a change, as recorded in revisions and audit entries."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address


@dataclass(frozen=True, slots=True)
class Actor:
    """A caller: its token's name, the address it called from, and the request's id."""

    name: str
    address: IPv4Address | IPv6Address | None = None
    request: str | None = None


def peer_address(remote: str | None) -> IPv4Address | IPv6Address | None:
    """The address of a socket's peer; None if it has none (a Unix socket)."""
    try:
        return ip_address((remote or "").partition("%")[0])
    except ValueError:
        return None
