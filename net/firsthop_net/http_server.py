"""An HTTP server that holds a bounded number of connections for one address, and none for long."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from firsthop_net.exhaustion import report_exhaustion_once

_Network = IPv4Network | IPv6Network

HEAD_TIMEOUT_S = 30.0
"""Seconds for a whole request head to arrive, and seconds that a connection may be idle."""
MAX_PER_ADDRESS = 512
"""Open connections of one IPv4 address, or of one IPv6 network of 64 bits."""
LOOPBACK: tuple[_Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


class HttpRunner(web.AppRunner):
    """A runner whose server closes connections beyond `max_per_address`, newest first.

    Peers in `proxies`, which stand for many clients, are not limited; nor are local ones, which are
    proxies or machines of this deployment.
    """

    def __init__(
        self,
        app: web.Application,
        *,
        proxies: Sequence[_Network] = (),
        max_per_address: int = MAX_PER_ADDRESS,
        **more: Any,
    ) -> None:
        """`more` goes to aiohttp, such as `shutdown_timeout`."""
        more = {"access_log": None, "keepalive_timeout": HEAD_TIMEOUT_S, **more}
        super().__init__(app, **more)
        self._limit = _AddressLimit(max_per_address, (*LOOPBACK, *proxies))

    async def _make_server(self) -> web.Server:
        report_exhaustion_once()
        logging.getLogger("aiohttp.server").addFilter(_is_no_bad_request)
        made = await super()._make_server()
        return _LimitedServer(made, self._limit)


def _is_no_bad_request(record: logging.LogRecord) -> bool:
    """Keeps what is no HTTP request out of the log: it may hold a token, and anybody sends it.

    The sender gets the reason with status 400.
    """
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


class _AddressLimit:
    """Counts the connections of each address."""

    def __init__(self, most: int, unlimited: Sequence[_Network]) -> None:
        self._most = most
        self._unlimited = unlimited
        self._open: Counter[object] = Counter()

    def enter(self, key: object) -> bool:
        """Whether one more connection of `key` is allowed, which then counts."""
        if key is None:
            return True
        if self._open[key] >= self._most:
            return False
        self._open[key] += 1
        return True

    def leave(self, key: object) -> None:
        """One connection less; keys without connections are forgotten."""
        self._open[key] -= 1
        if self._open[key] <= 0:
            del self._open[key]

    def key(self, transport: asyncio.BaseTransport) -> object:
        """What the connections of a peer are counted by; None if they are not limited."""
        peer = transport.get_extra_info("peername")
        if not isinstance(peer, tuple):
            return None  # a Unix socket
        address = ip_address(peer[0].partition("%")[0])
        if address.version == 6 and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address in network for network in self._unlimited):
            return None
        return address if address.version == 4 else int(address) >> 64


class _LimitedServer(web.Server):
    """aiohttp's server with a limit; takes the place of the one that aiohttp has made."""

    def __init__(self, made: web.Server, limit: _AddressLimit) -> None:
        vars(self).update(vars(made))
        self._limit = limit
        self._keys: dict[object, object] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        key = self._limit.key(transport)
        if not self._limit.enter(key):
            transport.abort()
        elif key is not None:
            self._keys[handler] = key

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        super().connection_lost(handler, exc)
        key = self._keys.pop(handler, None)
        if key is not None:
            self._limit.leave(key)
