"""HTTP: one GET gives the expected status."""

from __future__ import annotations

import asyncio

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from yarl import URL

from firsthop_healthchecks.probes import Failed, Outcome, Passed, not_reached, timed_out
from firsthop_steering.reports import ProbeTarget


class HttpProbe:
    """A new connection for every check, so that accepting one is checked too.

    Redirects are not followed and bodies are not read.
    """

    def __init__(self) -> None:
        self._session: ClientSession | None = None

    async def check(self, target: ProbeTarget) -> Outcome:
        """Passed when the headers have come with `target.expect_status`."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with self._open().get(
                _url(target),
                allow_redirects=False,
                timeout=ClientTimeout(total=target.timeout_s),
            ) as response:
                status = response.status
        except TimeoutError:
            return timed_out(target)
        except OSError as error:
            return not_reached(error)
        except (ClientError, ValueError) as error:
            return Failed(str(error) or type(error).__name__)
        if status != target.expect_status:
            return Failed(f"status {status}, expected {target.expect_status}")
        return Passed((loop.time() - started) * 1000)

    async def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> ClientSession:
        if self._session is None:
            self._session = ClientSession(
                connector=TCPConnector(force_close=True, limit=0),
                cookie_jar=DummyCookieJar(),
                headers={"User-Agent": "firsthop-prober"},
                auto_decompress=False,
            )
        return self._session


def _url(target: ProbeTarget) -> URL:
    host = f"[{target.address}]" if target.address.version == 6 else str(target.address)
    return URL(f"http://{host}:{target.port}{target.path}", encoded=True)
