"""Detects a crashed relay at once, through a TCP connection that is held open to its process.

When a process dies, the kernel closes its connections and refuses new ones. Only a refusal counts
as a crash: whether a server that does not answer is down is left to the probes.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NoReturn

import structlog

LOOK_S = 0.2  # minimum from one connection attempt to the next
CONNECT_S = 1.0
BACK_FIRST_S = 0.5
BACK_MAX_S = 32.0
STEADY_S = 60.0

log = structlog.get_logger("firsthop.agent")

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Presence:
    """Watches `host`:`port` and reports changes; at first the process is assumed to exist.

    A relay that crashes repeatedly does not flap: it counts as back when it has run for 0.5 s. This
    time doubles with each further crash within a minute, up to 32 s.
    """

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._exists = True
        self._back_since: float | None = None
        self._back_after_s = BACK_FIRST_S
        self._crashed_at = float("-inf")

    async def run(self, found: Callable[[bool], None]) -> NoReturn:
        """Watch until cancelled; calls `found` with whether the process exists, on each change."""
        loop = asyncio.get_running_loop()
        while True:
            next_at = loop.time() + LOOK_S
            try:
                connection = await self._connect()
            except ConnectionRefusedError:
                self._refused(found)
            except (OSError, TimeoutError):
                pass  # such as a full queue or a lost route: no evidence about the relay
            else:
                await self._hold(connection, found)
            await asyncio.sleep(next_at - loop.time())

    async def _connect(self) -> Connection:
        """Raises ConnectionRefusedError if every address of the host refuses; else OSError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_S):
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            return await _first_of(dict.fromkeys(str(each[4][0]) for each in found), self._port)

    async def _hold(self, connection: Connection, found: Callable[[bool], None]) -> None:
        """Wait until either side ends the connection."""
        reader, writer = connection
        try:
            if not self._exists:
                if not await self._lasts(reader):
                    return
                self._exists, self._back_since = True, None
                log.info("relay.returned", host=self._host, port=self._port)
                found(True)
            await _end_of(reader)
        finally:
            writer.close()

    async def _lasts(self, reader: asyncio.StreamReader) -> bool:
        """Whether this connection lasts until the relay has run long enough to be back."""
        try:
            async with asyncio.timeout_at(self._back_at()):
                await _end_of(reader)
        except TimeoutError:
            return True
        return False

    def _back_at(self) -> float:
        now = asyncio.get_running_loop().time()
        if self._back_since is None:
            self._back_since = now
        return self._back_since + self._back_after_s

    def _refused(self, found: Callable[[bool], None]) -> None:
        self._back_since = None
        if not self._exists:
            return
        now = asyncio.get_running_loop().time()
        again_soon = now - self._crashed_at < STEADY_S
        self._back_after_s = min(BACK_MAX_S, self._back_after_s * 2) if again_soon else BACK_FIRST_S
        self._exists, self._crashed_at = False, now
        log.warning("relay.crashed", host=self._host, port=self._port)
        found(False)


async def _first_of(addresses: Iterable[str], port: int) -> Connection:
    fault: OSError = ConnectionRefusedError()
    for address in addresses:
        try:
            return await asyncio.open_connection(address, port)
        except ConnectionRefusedError:
            continue
        except OSError as error:
            fault = error
    raise fault


async def _end_of(reader: asyncio.StreamReader) -> None:
    """Read until the end; no data is expected, as nothing was requested."""
    with suppress(OSError):
        while await reader.read(4096):
            pass
