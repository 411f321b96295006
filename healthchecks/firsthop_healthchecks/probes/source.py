"""Source addresses of a prober's checks, sockets bound to them, and whose fault their errors are.

A router or firewall on the path can cause most errors of a socket by ICMP (RFC 792; RFC 4443 §3.1),
the lack of a route included. So an error is this host's only if it cannot come from the network, or
if the same address cannot be reached by a socket that sends nothing.
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address

from firsthop_healthchecks.probes import Failed, Unable
from firsthop_steering.feed.reports import ProbeTarget

_NO_SOCKET = frozenset(
    {
        *(errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT),
        *(errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN),
    }
)
"""Errors that no packet causes: no source address or port, no protocol, no socket or memory."""


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

    def not_reached(self, target: ProbeTarget, error: OSError) -> Failed | Unable:
        """The outcome of a check that ended with `error`; the reason is the system's message.

        Unable if the fault is proven to be this host's, and Failed if it may be the target's: a
        vantage without IPv6 marks no relay down, and a relay whose network refuses packets is down.
        """
        ours = error.errno in _NO_SOCKET or not self._has_route(target)
        message = (os.strerror(error.errno) if error.errno else str(error)) or type(error).__name__
        return Unable(message) if ours else Failed(message)

    def _has_route(self, target: ProbeTarget) -> bool:
        """Whether this host's own routing table leads to the target; no packet is sent."""
        try:
            with self.new_socket(target.address.version, socket.SOCK_DGRAM) as sock:
                sock.connect((str(target.address), target.port))
        except OSError:
            return False
        return True


ANY = SourceAddresses()
