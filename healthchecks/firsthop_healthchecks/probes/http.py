"""HTTP and HTTPS: one GET returns the expected status, and a body with the expected text."""

from __future__ import annotations

import asyncio
import ssl

from aiohttp import (
    ClientError,
    ClientResponse,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from yarl import URL

from firsthop_healthchecks.probes import Failed, Passed, ProbeOutcome, timed_out
from firsthop_healthchecks.probes.certificates import context, handshake_failed
from firsthop_healthchecks.probes.source import ANY, SourceAddresses
from firsthop_steering.feed.reports import ProbeTarget

BODY = 64 * 1024  # octets read of a body, which is read only if `expect_body` is set


class HttpProbe:
    """A new connection for every check, so that accepting one is checked too.

    Redirects are not followed, and nothing is decompressed. Serves the kinds http and https.
    """

    def __init__(self, source: SourceAddresses = ANY) -> None:
        self._source = source
        self._sessions: dict[int, ClientSession] = {}

    async def check(self, target: ProbeTarget) -> ProbeOutcome:
        """Passed if `expect_status` has the status, and the body contains `expect_body` if set."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with self._session(target.address.version).get(
                _url(target),
                headers={} if target.host is None else {"Host": target.host},
                ssl=context(target.verify) if target.kind == "https" else True,
                server_hostname=target.host if target.kind == "https" else None,
                allow_redirects=False,
                timeout=ClientTimeout(total=target.timeout_s),
            ) as response:
                wrong = await _judge(response, target)
        except TimeoutError:
            return timed_out(target)
        except OSError as error:
            return self._not_reached(target, error)
        except (ClientError, ValueError) as error:
            return Failed(str(error) or type(error).__name__)
        return wrong or Passed((loop.time() - started) * 1000)

    async def close(self) -> None:
        """Close the sessions."""
        for session in self._sessions.values():
            await session.close()

    def _session(self, version: int) -> ClientSession:
        if version not in self._sessions:
            own = self._source.of(version)
            self._sessions[version] = ClientSession(
                connector=TCPConnector(
                    force_close=True, limit=0, local_addr=None if own is None else (own, 0)
                ),
                cookie_jar=DummyCookieJar(),
                headers={"User-Agent": "firsthop-prober", "Accept-Encoding": "identity"},
                auto_decompress=False,
            )
        return self._sessions[version]

    def _not_reached(self, target: ProbeTarget, error: OSError) -> ProbeOutcome:
        cause = error.__cause__
        if isinstance(error, ClientSSLError) and isinstance(cause, ssl.SSLError):
            return handshake_failed(cause)
        return self._source.not_reached(target, error)


async def _judge(response: ClientResponse, target: ProbeTarget) -> Failed | None:
    if response.status not in target.expected_statuses:
        expected = " or ".join(map(str, target.expected_statuses))
        return Failed(f"status {response.status}, expected {expected}")
    if target.expect_body is None:
        return None
    wanted, body = target.expect_body.encode(), b""
    while len(body) < BODY and wanted not in body:
        more = await response.content.read(BODY - len(body))
        if not more:
            break
        body += more
    return None if wanted in body else Failed("body without the expected text")


def _url(target: ProbeTarget) -> URL:
    host = f"[{target.address}]" if target.address.version == 6 else str(target.address)
    return URL(f"{target.kind}://{host}:{target.port}{target.path}", encoded=True)
