"""TLS: the handshake succeeds, and the certificate stays valid for some days."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from datetime import datetime

from firsthop_healthchecks.clock import utc_now
from firsthop_healthchecks.probes import Failed, Passed, ProbeOutcome, timed_out
from firsthop_healthchecks.probes.certificates import context, handshake_failed, validity
from firsthop_healthchecks.probes.source import ANY, SourceAddresses
from firsthop_steering.feed.reports import ProbeTarget


class TlsProbe:
    """Connects, does the handshake (TLS 1.2 or 1.3), reads the certificate, and closes.

    Chain and name are checked only with `target.verify`; the dates always.
    """

    def __init__(
        self, source: SourceAddresses = ANY, *, wall: Callable[[], datetime] = utc_now
    ) -> None:
        self._source = source
        self._wall = wall

    async def check(self, target: ProbeTarget) -> ProbeOutcome:
        """Passed after the handshake if the certificate is valid for `min_valid_days` more."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(target.timeout_s):
                der = await self._certificate(target)
        except TimeoutError:
            return timed_out(target)
        except ssl.SSLError as error:
            return handshake_failed(error)
        except OSError as error:
            return self._source.not_reached(target, error)
        if der is None:
            return Failed("no certificate")
        duration_ms = (loop.time() - started) * 1000
        ends = validity(der, self._wall(), target.min_valid_days)
        return ends if isinstance(ends, Failed) else Passed(duration_ms, ends)

    async def close(self) -> None:
        """Nothing is shared."""

    async def _certificate(self, target: ProbeTarget) -> bytes | None:
        """The server's certificate, as DER. Raises OSError, of which ssl.SSLError is one."""
        loop = asyncio.get_running_loop()
        with self._source.new_socket(target.address.version, socket.SOCK_STREAM) as sock:
            await loop.sock_connect(sock, (str(target.address), target.port))
            transport, _ = await loop.create_connection(
                asyncio.Protocol,
                sock=sock,
                ssl=context(target.verify),
                server_hostname=target.host or str(target.address),
                ssl_handshake_timeout=target.timeout_s,
            )
            try:
                tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
                return tls.getpeercert(binary_form=True)
            finally:
                transport.abort()
