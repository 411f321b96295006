"""How many targets one prober can check on time: CPU, lateness and failures by number of targets.

    python bench/probes.py [--targets 1000,2000,5000] [--seconds 20] [--kind stun]

One prober process on one CPU, as run by `firsthop prober`, reports its whole view every second to a
stand-in of the control plane on another CPU, where the probed relay also runs
(`firsthop_relay.io.server`). All targets are one relay address under many names. Lateness is the
time from a check's scheduled start to its actual start.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, see below)

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import secrets
import sys
import tempfile
import time
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from multiprocessing.connection import Connection
from pathlib import Path

# With this folder on sys.path `import dns` would find bench/dns.py instead of dnspython.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from aiohttp import web

from firsthop_healthchecks.controlplane import ControlPlaneClient
from firsthop_healthchecks.prober.prober import Prober
from firsthop_healthchecks.prober.statefile import StateFile
from firsthop_healthchecks.prober.target_policy import TargetPolicy
from firsthop_healthchecks.probes import Failed, Passed, ProbeCheck, ProbeOutcome
from firsthop_healthchecks.probes.kinds import probes_by_kind
from firsthop_healthchecks.schedule import Schedule
from firsthop_ice.ufrag import RouteKeys, mint_probe_credential
from firsthop_net.listening import bind_udp
from firsthop_relay.flows.flow_table import FlowTable
from firsthop_relay.io.server import RelayServer
from firsthop_steering.feed.reports import ProbeReport, ProbeTarget, ProbeTargets
from firsthop_steering.feed.snapshot import CredentialKey, KeySet

ADDRESS = "127.0.31.1"
API_PORT, RELAY_PORT = 18086, 13478
WARM_UP_S = 5.0  # the first round, and the first pull


def keyset() -> KeySet:
    """One generation of credential keys."""
    now = datetime.now(UTC)
    key = CredentialKey(
        id=1, route=secrets.token_hex(32), password=secrets.token_hex(32), created_at=now
    )
    return KeySet(number=1, lineage="bench", created_at=now, signing=1, keys=(key,))


def targets(keys: KeySet, count: int, kind: str) -> ProbeTargets:
    """`count` targets checked every second, each with its own credential, as in production."""
    now = datetime.now(UTC)
    made = []
    for number in range(count):
        credential = mint_probe_credential(keys, now=now, entropy=secrets.token_bytes(7))
        made.append(
            ProbeTarget(
                relay=f"relay-{number}",
                kind=kind,  # type: ignore[arg-type]
                address=ip_address(ADDRESS),
                port=RELAY_PORT,
                interval_s=1.0,
                timeout_s=0.8,
                rise=2,
                fall=3,
                ufrag=credential.ufrag,
                password=credential.password,
            )
        )
    return ProbeTargets(targets=tuple(made))


def answer(count: int, kind: str, pipe: Connection) -> None:
    """The other process: relay, TCP listener, and stand-in of the control plane."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    keys = keyset()

    async def told(_: web.Request) -> web.Response:
        # New credentials at every request, like the real one, so that no target compares equal.
        body = targets(keys, count, kind).model_dump_json()
        return web.Response(text=body, content_type="application/json")

    async def results(request: web.Request) -> web.Response:
        ProbeReport.model_validate_json(await request.read())
        return web.Response(status=204)

    async def serve() -> None:
        relay = RelayServer(FlowTable(keys=RouteKeys.from_keyset(keys)), most_files=1)
        relay.listen(bind_udp(ADDRESS, RELAY_PORT))
        relay.start()
        await asyncio.start_server(lambda _, w: w.close(), ADDRESS, RELAY_PORT, backlog=4096)
        app = web.Application(client_max_size=1 << 25)
        app.add_routes(
            [web.get("/v1/probes/targets", told), web.post("/v1/probes/results", results)]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, ADDRESS, API_PORT).start()
        pipe.send("ready")
        await asyncio.Event().wait()

    asyncio.run(serve())


class Watched:
    """A probe that records the lateness and result of each check."""

    def __init__(self, probe: ProbeCheck) -> None:
        self._probe = probe
        self._rounds: dict[str, tuple[Schedule, int]] = {}
        self.start = 0.0
        self.late: list[float] = []
        self.checks = self.passed = self.skipped = 0
        self.reasons: dict[str, int] = {}

    async def check(self, target: ProbeTarget) -> ProbeOutcome:
        """Runs and records one check."""
        self._note(target, asyncio.get_running_loop().time())
        outcome = await self._probe.check(target)
        self.checks += 1
        self.passed += isinstance(outcome, Passed)
        if isinstance(outcome, Failed):
            self.reasons[outcome.reason] = self.reasons.get(outcome.reason, 0) + 1
        return outcome

    async def close(self) -> None:
        """Closes the probe."""
        await self._probe.close()

    def reset(self) -> None:
        """Discards the results of the warm-up."""
        self.late.clear()
        self.reasons.clear()
        self.checks = self.passed = self.skipped = 0

    def _note(self, target: ProbeTarget, now: float) -> None:
        known = self._rounds.get(target.relay)
        if known is None:
            schedule = Schedule.of(f"bench {target.relay}", start=self.start, interval_s=1.0)
            known = schedule, schedule.next_round(-1, now) - 2
        schedule, last = known
        number = last + 1
        while schedule.at(number + 1) <= now:
            number += 1
        self.skipped += number - last - 1
        self.late.append(now - schedule.at(number))
        self._rounds[target.relay] = schedule, number


async def probe(kind: str, seconds: float) -> dict[str, float | str]:
    """Runs the prober for some seconds and returns the results."""
    watched = Watched(probes_by_kind()[kind])
    with tempfile.TemporaryDirectory() as folder:
        async with ControlPlaneClient([f"http://{ADDRESS}:{API_PORT}"], "bench") as control_plane:
            prober = Prober(
                *("bench", "bench"),
                control_plane=control_plane,
                state=StateFile(Path(folder) / "state"),
                probes={kind: watched},
                policy=TargetPolicy(allowed=(ip_network("127.0.0.0/8"),)),
            )
            watched.start = asyncio.get_running_loop().time()
            running = asyncio.create_task(prober.run())
            await asyncio.sleep(WARM_UP_S)
            watched.reset()
            cpu, wall = time.process_time(), time.monotonic()
            await asyncio.sleep(seconds)
            cpu, wall = time.process_time() - cpu, time.monotonic() - wall
            late = sorted(watched.late)
            running.cancel()
            await asyncio.wait([running])
    return {
        "cpu": cpu / wall,
        "checks": watched.checks / wall,
        "us": cpu / watched.checks * 1e6,
        "p50": late[len(late) // 2] * 1000,
        "p99": late[len(late) * 99 // 100] * 1000,
        "max": late[-1] * 1000,
        "skipped": watched.skipped,
        "failed": watched.checks - watched.passed,
        "why": json.dumps(watched.reasons) if watched.reasons else "",
    }


def main() -> None:
    """Prints one row per number of targets."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--targets", default="1000,2000,3000,4000,5000")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--kind", default="stun", choices=["stun", "tcp"])
    given = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    print("| kind | targets at 1 s | checks/s | CPU of a core | µs/check | late p50 / p99 / max, ms"
          " | rounds skipped | failed |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    for count in map(int, given.targets.split(",")):
        ours, theirs = spawn.Pipe()
        other = spawn.Process(target=answer, args=(count, given.kind, theirs), daemon=True)
        other.start()
        ours.recv()
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(allowed)})
        try:
            row = asyncio.run(probe(given.kind, given.seconds))
        finally:
            os.sched_setaffinity(0, allowed)
            other.terminate()
            other.join()
        late = " / ".join(f"{row[name]:.1f}" for name in ("p50", "p99", "max"))
        print(f"| {given.kind} | {count:,} | {row['checks']:,.0f} | {row['cpu']:.0%}"
              f" | {row['us']:.0f} | {late} | {row['skipped']} | {row['failed']} {row['why']} |",
              flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
