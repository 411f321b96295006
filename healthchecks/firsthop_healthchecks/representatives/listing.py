"""The file in which an operator names representatives: one a line, and what is wrong with a line.

`192.0.2.53` is measured by echo requests, `192.0.2.53 check=tcp:443` by a handshake; what follows
a `#` is a remark.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

MOST = 10_000
_CHECK = re.compile(r"icmp|tcp:([1-9][0-9]{0,4})")
_LENGTH = {4: 24, 6: 48}


class ListingError(ValueError):
    """A text that is no list of representatives; the message names the line and the rule."""


@dataclass(frozen=True, slots=True)
class Representative:
    """A host that agreed to be measured."""

    address: IPv4Address | IPv6Address
    port: int | None = None
    """Of the TCP handshake; None: echo requests."""

    @property
    def prefix(self) -> IPv4Network | IPv6Network:
        """Whose clients it stands for."""
        return ip_network((self.address, _LENGTH[self.address.version]), strict=False)


def read_listing(text: str) -> tuple[Representative, ...]:
    """The representatives of a file, in its order. Raises ListingError."""
    found: list[Representative] = []
    lines: dict[IPv4Network | IPv6Network, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            each = _representative(*words)
            if len(found) == MOST:
                raise ListingError(f"more than {MOST} representatives")
            first = lines.setdefault(each.prefix, number)
            if first != number:
                raise ListingError(f"{each.prefix} has a representative in line {first}")
        except ListingError as error:
            raise ListingError(f"line {number}: {error}") from None
        found.append(each)
    if not found:
        raise ListingError("names no representative")
    return tuple(found)


def _representative(address: str, *fields: str) -> Representative:
    port, seen = None, False
    for field in fields:
        name, equals, value = field.partition("=")
        if name != "check" or not equals:
            raise ListingError(
                f"{field!r}: after the address may stand check=icmp or check=tcp:PORT"
            )
        if seen:
            raise ListingError("check stands twice")
        port, seen = _port(value), True
    return Representative(_address(address), port)


def _address(text: str) -> IPv4Address | IPv6Address:
    """A public one, or a loopback one, for a deployment on one machine."""
    try:
        address = ip_address(text)
    except ValueError:
        raise ListingError(f"{text!r} is no IP address") from None
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or address.scope_id):
        raise ListingError(f"{text} must be a plain IPv4 or IPv6 address")
    if address.is_loopback or (address.is_global and not address.is_multicast):
        return address
    raise ListingError(f"{text} is private or special-purpose: it stands for no public prefix")


def _port(value: str) -> int | None:
    match = _CHECK.fullmatch(value)
    if match is None or (match[1] and int(match[1]) > 65535):
        raise ListingError(
            f"check must be icmp or tcp:PORT with a port of 1 to 65535, not {value!r}"
        )
    return int(match[1]) if match[1] else None
