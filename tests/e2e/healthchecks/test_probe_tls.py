"""The kinds tls and https against real servers: certificates good, old, strange and absent."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from firsthop_healthchecks.probes import Failed, Passed, ProbeOutcome
from firsthop_healthchecks.probes.certificates import context
from firsthop_healthchecks.probes.http import HttpProbe
from firsthop_healthchecks.probes.tls import TlsProbe
from support.certificates import NAME, certificate_file, server_context
from support.standin import keyset, own_address, stun_target

pytestmark = pytest.mark.e2e
KEYS = keyset()


@pytest.fixture(autouse=True)
def _fresh_contexts() -> Iterator[None]:
    """Contexts are made once, from what the system trusts then; a test may change that."""
    context.cache_clear()
    yield
    context.cache_clear()


async def _hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def tls_outcome(
    served: ssl.SSLContext, address: str = "", wall: datetime | None = None, **fields: Any
) -> ProbeOutcome:
    """One tls check of a server that shakes hands and hangs up."""
    address = address or own_address()
    probe = TlsProbe(wall=lambda: wall or datetime.now(UTC))
    target = stun_target(address, KEYS, kind="tls", **{"timeout_s": 5.0} | fields)
    async with await asyncio.start_server(_hang_up, address, 3478, ssl=served):
        outcome = await probe.check(target)
    await probe.close()
    return outcome


async def test_tls_passes_with_a_certificate_of_ones_own(tmp_path: Path) -> None:
    """The chain is not judged unless one asks for it."""
    served = server_context(certificate_file(tmp_path))
    outcome = await tls_outcome(served)
    assert isinstance(outcome, Passed)
    assert 0 < outcome.duration_ms < 5000
    assert outcome.certificate_ends is not None
    assert outcome.certificate_ends > datetime.now(UTC)


@pytest.mark.parametrize(
    ("ends", "min_valid_days", "reason"),
    [
        (-0.5, 0, "certificate expired on {date}"),
        (6.5, 7, "certificate expires on {date}, within 7 days"),
        (7.5, 7, None),
        (0.5, 0, None),
    ],
)
async def test_tls_names_the_day_a_certificate_ends(
    tmp_path: Path, ends: float, min_valid_days: int, reason: str | None
) -> None:
    date = f"{datetime.now(UTC) + timedelta(days=ends):%Y-%m-%d}"
    served = server_context(certificate_file(tmp_path, ends=ends))
    outcome = await tls_outcome(served, min_valid_days=min_valid_days)
    if reason is None:
        assert isinstance(outcome, Passed)
    else:
        assert outcome == Failed(reason.format(date=date))


async def test_tls_refuses_a_certificate_of_tomorrow(tmp_path: Path) -> None:
    served = server_context(certificate_file(tmp_path, starts=1.5))
    outcome = await tls_outcome(served)
    assert isinstance(outcome, Failed)
    assert outcome.reason.startswith("certificate is not valid before 20")


async def test_tls_asks_for_the_host(tmp_path: Path) -> None:
    """As server name; without one none is sent, for an address is none (RFC 6066 §3)."""
    served = server_context(certificate_file(tmp_path))
    asked: list[str | None] = []
    served.sni_callback = lambda _, name, __: asked.append(name)
    await tls_outcome(served, host=NAME)
    await tls_outcome(served)
    assert asked == [NAME, None]


async def test_verify_judges_chain_and_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = own_address()
    path = certificate_file(tmp_path, address=address)
    served = server_context(path)
    outcome = await tls_outcome(served, address, verify=True, host=NAME)
    assert outcome == Failed("certificate: self-signed certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    context.cache_clear()
    assert isinstance(await tls_outcome(served, address, verify=True, host=NAME), Passed)
    assert isinstance(await tls_outcome(served, address, verify=True), Passed)
    outcome = await tls_outcome(served, address, verify=True, host="other.example")
    assert isinstance(outcome, Failed)
    assert "other.example" in outcome.reason
    for probe_fields in ({"host": NAME}, {}, {"host": "other.example"}):
        outcome = await https_outcome(served, address, verify=True, **probe_fields)
        assert isinstance(outcome, Failed if "other.example" in probe_fields.values() else Passed)


async def https_outcome(served: ssl.SSLContext, address: str, **fields: Any) -> ProbeOutcome:
    """One https check of a server that says the name it was asked for."""

    async def whoami(request: web.Request) -> web.Response:
        return web.Response(text=f"this is {request.host}", headers={"Location": "/elsewhere"})

    app = web.Application()
    app.add_routes([web.get("/", whoami)])
    runner, probe = web.AppRunner(app, access_log=None, shutdown_timeout=0), HttpProbe()
    await runner.setup()
    await web.TCPSite(runner, address, 3478, ssl_context=served).start()
    try:
        target = stun_target(address, KEYS, kind="https", **{"timeout_s": 5.0} | fields)
        return await probe.check(target)
    finally:
        await probe.close()
        await runner.cleanup()


async def test_https_checks_status_body_and_host(tmp_path: Path) -> None:
    address = own_address()
    served = server_context(certificate_file(tmp_path))
    asked: list[str | None] = []
    served.sni_callback = lambda _, name, __: asked.append(name)
    named = {"host": NAME, "expect_body": f"this is {NAME}"}
    assert isinstance(await https_outcome(served, address, **named), Passed)
    assert asked == [NAME]
    bare = {"expect_body": f"this is {address}"}
    assert isinstance(await https_outcome(served, address, **bare), Passed)
    outcome = await https_outcome(served, address, expect_status=204)
    assert outcome == Failed("status 200, expected 204")
    outcome = await https_outcome(served, address, verify=True)
    assert outcome == Failed("certificate: self-signed certificate")


@pytest.mark.parametrize("kind", ["tls", "https"])
@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x01\0\x02\x02\x28", b""])
async def test_what_is_not_tls_fails_at_once(kind: str, said: bytes) -> None:
    """OpenSSL's error numbers are not taken for errnos of this host."""
    address = own_address()

    async def other(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()
        writer.close()

    probe = TlsProbe() if kind == "tls" else HttpProbe()
    async with await asyncio.start_server(other, address, 3478):
        outcome = await probe.check(stun_target(address, KEYS, kind=kind, timeout_s=5.0))
    await probe.close()
    assert isinstance(outcome, Failed)
    assert outcome.reason
    assert "no answer" not in outcome.reason


@pytest.mark.parametrize("kind", ["tls", "https"])
async def test_a_handshake_that_never_ends_costs_its_time_only(kind: str) -> None:
    """A byte now and then does not prolong it."""
    address, loop = own_address(), asyncio.get_running_loop()
    held: list[asyncio.StreamWriter] = []

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        while not writer.is_closing():
            writer.write(b"\x16")
            await asyncio.sleep(0.02)

    probe = TlsProbe() if kind == "tls" else HttpProbe()
    async with await asyncio.start_server(drip, address, 3478):
        started = loop.time()
        outcome = await probe.check(stun_target(address, KEYS, kind=kind, timeout_s=0.3))
        took = loop.time() - started
        for writer in held:
            writer.close()
    await probe.close()
    assert isinstance(outcome, Failed)
    assert took < 30.0
