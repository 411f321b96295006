"""What end-to-end tests of the field need: processes, loopback addresses, a tiny control plane."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiohttp import web

from firsthop_ice.ufrag import RouteKeys, mint_probe_credential
from firsthop_steering.feed.reports import ProbeReport, ProbeTarget, ProbeTargets, RelayReport
from firsthop_steering.feed.snapshot import CredentialKey, KeySet
from support.waiting import DEADLINE_S, eventually

TOKEN = "standin-token"


def own_address() -> str:
    """A loopback address that no other test run is likely to use (all of 127/8 is loopback)."""
    return (
        f"127.{100 + secrets.randbelow(150)}.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"
    )


def keyset(key_id: int = 5) -> KeySet:
    """One fresh generation of keys."""
    now = datetime.now(UTC)
    key = CredentialKey(
        id=key_id, route=secrets.token_hex(32), password=secrets.token_hex(32), created_at=now
    )
    return KeySet(number=1, lineage="standin", created_at=now, signing=key_id, keys=(key,))


def write_route_keys(path: Path, keys: KeySet) -> Path:
    """The key file of a relay, replaced whole."""
    fresh = path.with_suffix(".new")
    fresh.write_text(RouteKeys.from_keyset(keys).to_json())
    fresh.chmod(0o600)
    return fresh.replace(path)


def stun_target(address: str, keys: KeySet, *, port: int = 3478, **changes: Any) -> ProbeTarget:
    """A relay to probe five times a second."""
    credential = mint_probe_credential(keys, now=datetime.now(UTC), entropy=secrets.token_bytes(7))
    fields: dict[str, Any] = {
        "relay": "fra-1",
        "kind": "stun",
        "address": ip_address(address),
        "port": port,
        "interval_s": 0.2,
        "timeout_s": 0.5,
        "rise": 2,
        "fall": 3,
        "ufrag": credential.ufrag,
        "password": credential.password,
    }
    return ProbeTarget(**fields | changes)


class StandIn:
    """A control plane that hands out `targets` and keeps what it is told."""

    def __init__(self) -> None:
        self.address = own_address()
        self.url = f"http://{self.address}:8080"
        self.targets: ProbeTargets | None = None
        """None: it does not say (503)."""
        self.probe_report: ProbeReport | None = None
        self.relay_reports: list[tuple[str, RelayReport]] = []
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen, from now on or again."""
        app = web.Application(middlewares=[_authenticated])
        app.add_routes(
            [
                web.get("/v1/probes/targets", self._targets),
                web.post("/v1/probes/results", self._results),
                web.post("/v1/relays/{relay}/reports", self._relay_report),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.address, 8080, reuse_address=True).start()

    async def stop(self) -> None:
        """Go away, with all connections."""
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for reports until `holds`; fails with `what` after the deadline."""
        await eventually(holds, what)

    async def until_views(self, **verdicts: str) -> ProbeReport:
        """The first report from now on that says just this; `fra_1` is the relay fra-1."""
        wanted = {relay.replace("_", "-"): verdict for relay, verdict in verdicts.items()}
        self.probe_report = None

        def said() -> bool:
            report = self.probe_report
            return report is not None and wanted == {v.relay: v.verdict for v in report.views}

        await self.until(said, f"views {wanted}")
        assert self.probe_report is not None
        return self.probe_report

    async def _targets(self, _: web.Request) -> web.Response:
        if self.targets is None:
            raise web.HTTPServiceUnavailable
        return web.Response(body=self.targets.model_dump_json(), content_type="application/json")

    async def _results(self, request: web.Request) -> web.Response:
        report = ProbeReport.model_validate_json(await request.read())
        self.probe_report = report
        return web.Response(status=204)

    async def _relay_report(self, request: web.Request) -> web.Response:
        report = RelayReport.model_validate_json(await request.read())
        self.relay_reports.append((request.match_info["relay"], report))
        return web.Response(status=204)


@web.middleware
async def _authenticated(request: web.Request, handler: Any) -> web.StreamResponse:
    if request.headers.get("Authorization") != f"Bearer {TOKEN}":
        raise web.HTTPUnauthorized
    response: web.StreamResponse = await handler(request)
    return response


class Process:
    """`firsthop COMMAND` as a real process; its log is read line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.log = ""

    async def said(self, words: str) -> str:
        """Its log up to the line with `words`."""
        assert self._process.stderr is not None
        try:
            async with asyncio.timeout(DEADLINE_S):
                while words not in self.log:
                    line = await self._process.stderr.readline()
                    assert line, f"ended without saying {words!r}:\n{self.log}"
                    self.log += line.decode()
        except TimeoutError:
            raise AssertionError(f"never said {words!r}:\n{self.log}") from None
        return self.log

    def send(self, number: signal.Signals) -> None:
        """Signal it."""
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Its exit status, once it has ended by itself."""
        assert self._process.stderr is not None
        async with asyncio.timeout(DEADLINE_S):
            self.log += (await self._process.stderr.read()).decode()
            return await self._process.wait()

    async def kill(self) -> None:
        """`kill -9`, if it lives."""
        if self._process.returncode is None:
            self._process.kill()
        await self.ended()


@asynccontextmanager
async def running(command: str, *arguments: str, **environment: str) -> AsyncIterator[Process]:
    """`firsthop command arguments`, killed at the end if it still lives."""
    set_for_all = ("FIRSTHOP_ALLOW_LOOPBACK", "FIRSTHOP_ALLOW_TARGETS")  # by conftest
    inherited = {
        k: v for k, v in os.environ.items() if not k.startswith("FIRSTHOP_") or k in set_for_all
    }
    process = Process(
        await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "firsthop", command, *arguments),
            env=inherited | environment,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
    )
    try:
        yield process
    finally:
        await process.kill()
