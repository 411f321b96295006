"""Source addresses of a prober's checks, and sockets bound to them."""

from __future__ import annotations

import socket
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address


@dataclass(frozen=True, slots=True)
class SourceAddresses:
    """One address per family; None leaves the choice to the system's routes."""

    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None

    @classmethod
    def parse(cls, text: str) -> SourceAddresses:
        """Parse addresses separated by commas; an empty text gives none. Raises ValueError."""
        source = cls()
        for each in filter(None, (part.strip() for part in text.split(","))):
            address = ip_address(each)
            if source.of(address.version) is not None:
                raise ValueError(f"two IPv{address.version} addresses")
            if isinstance(address, IPv4Address):
                source = replace(source, ipv4=address)
            else:
                source = replace(source, ipv6=address)
        return source

    def of(self, version: int) -> str | None:
        """The source address for IP version 4 or 6, as text."""
        address = self.ipv4 if version == 4 else self.ipv6
        return None if address is None else str(address)

    def new_socket(self, version: int, kind: socket.SocketKind, protocol: int = 0) -> socket.socket:
        """A new non-blocking socket that sends from the source address. Raises OSError."""
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            own = self.of(version)
            if own is not None:
                sock.bind((own, 0))
        except OSError:
            sock.close()
            raise
        return sock


ANY = SourceAddresses()
