"""RRsets of steered names: addresses, and HTTPS or SVCB with their ports."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Literal, Protocol

from firsthop_dns.wire.query import AAAA, HTTPS, IN, SVCB, A
from firsthop_steering.plan.document import Document

_RECORD = struct.Struct(">HHHIH")
_OWNER = 0xC00C
"""A pointer to the question's name."""
_PORT, _IPV4HINT, _IPV6HINT = 3, 4, 6
"""SvcParamKeys, which come in ascending order (RFC 9460 §2.2, §14.3.2)."""
_PARAM = struct.Struct(">HH")

_Addresses = Sequence[IPv4Address | IPv6Address]


class SteeredAnswer(Protocol):
    """One answer, as needed here; implemented by `firsthop_steering.compile.table.Answer`."""

    @property
    def ttl(self) -> int: ...
    @property
    def relays(self) -> tuple[str, ...]: ...
    @property
    def ipv4(self) -> tuple[IPv4Address, ...]: ...
    @property
    def ipv6(self) -> tuple[IPv6Address, ...]: ...


class SteeredService(Protocol):
    """A service, as needed here; implemented by `CompiledService` and `ServiceTable`."""

    @property
    def name(self) -> str: ...
    @property
    def answers(self) -> Sequence[SteeredAnswer]: ...


class Endpoints:
    """Addresses and ports of a pool's members, by id."""

    def __init__(self, document: Document, pool: Literal["relays", "transceivers"]) -> None:
        self._found: dict[str, tuple[int | None, set[object]]] = {}
        if pool == "relays":
            for relay in document.relays:
                self._found[relay.id] = relay.udp_port, {relay.ipv4, relay.ipv6}
        else:
            for each in document.transceivers:
                own: set[object] = {each.signalling_ipv4, each.signalling_ipv6}
                self._found[each.id] = each.signalling_port, own

    def by_port(self, answer: SteeredAnswer) -> dict[int | None, tuple[_Addresses, _Addresses]]:
        """The answer's addresses by their port; None if their port is not known."""
        ports: dict[int | None, set[object]] = {}
        for name in answer.relays:
            port, own = self._found[name]
            ports.setdefault(port, set()).update(own)
        if not answer.relays:  # the operator's own fallback addresses
            ports[None] = {*answer.ipv4, *answer.ipv6}
        return {
            port: (
                [each for each in answer.ipv4 if each in own],
                [each for each in answer.ipv6 if each in own],
            )
            for port, own in ports.items()
        }


def answer_rrsets(answer: SteeredAnswer, endpoints: Endpoints) -> Iterator[tuple[int, bytes]]:
    """Count and records of each type in `layout.STEERED`, owned by the question's name.

    Packed by hand: there are thousands of them in every compilation.
    """
    for kind, addresses in ((A, answer.ipv4), (AAAA, answer.ipv6)):
        yield (
            len(addresses),
            b"".join(_record(kind, answer.ttl, each.packed) for each in addresses),
        )
    bindings = [
        _binding(port, four, six)
        for port, (four, six) in endpoints.by_port(answer).items()
        if four or six
    ]
    for kind in (HTTPS, SVCB):
        yield len(bindings), b"".join(_record(kind, answer.ttl, each) for each in bindings)


def _record(kind: int, ttl: int, rdata: bytes) -> bytes:
    return _RECORD.pack(_OWNER, kind, IN, ttl, len(rdata)) + rdata


def _binding(port: int | None, four: _Addresses, six: _Addresses) -> bytes:
    """ServiceMode at the owner itself: priority 1, target `.` (RFC 9460 §2.4.3, §2.5.2)."""
    found = bytearray(b"\0\1\0")
    if port is not None:
        found += _PARAM.pack(_PORT, 2) + port.to_bytes(2, "big")
    for key, addresses in ((_IPV4HINT, four), (_IPV6HINT, six)):
        if addresses:
            hint = b"".join(each.packed for each in addresses)
            found += _PARAM.pack(key, len(hint)) + hint
    return bytes(found)
