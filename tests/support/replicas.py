"""Control planes as processes over one database, and edges that are nothing but followers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from firsthop.controlplane.machine_tokens import MachineTokens
from firsthop.edge.following.follower import FeedFollower
from firsthop.edge.following.snapshot_store import SnapshotStore
from firsthop_steering.feed.snapshot import Delta, Snapshot, Status
from support.deployment import free_port
from support.waiting import DEADLINE_S, eventually

DOCUMENT = {
    "regions": [{"id": "fra", "latitude": 50.11, "longitude": 8.68}],
    "relays": [
        {"id": f"fra-{n}", "region": "fra", "ipv4": f"192.0.2.{n}", "probe": {"fall": 1}}
        for n in range(1, 5)
    ],
}


class Replica:
    """One `firsthop controlplane`."""

    def __init__(self, name: str, folder: Path, environment: dict[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = environment | {"FIRSTHOP_CONTROLPLANE_LISTEN": f"127.0.0.1:{self.port}"}
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "firsthop", "controlplane"],
                env=os.environ | self._environment,
                stdout=log,
                stderr=log,
            )

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait(120)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(120)


class Replicas:
    """Several over one database and one state folder, which is to say, with the same secrets."""

    def __init__(self, folder: Path, database_url: str, session: aiohttp.ClientSession) -> None:
        self.folder = folder
        self._session = session
        tokens = folder / "machine.tokens"
        self._tokens = MachineTokens(tokens)
        self._tokens.add([("admin", "admin", None), ("edge", "edge", None)])
        self._tokens.add([("prober", "prober", "a")])
        self._environment = {
            "FIRSTHOP_DATABASE_URL": database_url,
            "FIRSTHOP_STATE_DIR": str(folder / "state"),
            "FIRSTHOP_BOOTSTRAP_TOKENS": str(tokens),
        }
        self.all: list[Replica] = []

    def add(self) -> Replica:
        """One more, started."""
        replica = Replica(f"controlplane-{len(self.all)}", self.folder, self._environment)
        self.all.append(replica)
        replica.start()
        return replica

    def token(self, role: str) -> str:
        return self._tokens[role]

    async def call(
        self, replica: Replica, method: str, path: str, body: Any = None, role: str = "admin"
    ) -> tuple[int, Any]:
        """Status and JSON; (0, why) when nobody answers within 2 s."""
        try:
            async with self._session.request(
                method,
                replica.url + path,
                json=body,
                headers={"Authorization": f"Bearer {self.token(role)}"},
                timeout=aiohttp.ClientTimeout(total=4.0 if method == "POST" else 2.0),
            ) as response:
                text = await response.read()
                return response.status, json.loads(text) if text else None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return 0, str(error)

    async def ready(self, replica: Replica) -> bool:
        return (await self.call(replica, "GET", "/readyz"))[0] == 200

    async def leads(self, replica: Replica) -> bool:
        """Whether it says that it leads."""
        status, body = await self.call(replica, "GET", "/readyz")
        return status in (200, 503) and bool(body["leader"]["here"])

    async def leaders(self, among: Sequence[Replica] | None = None) -> list[Replica]:
        replicas = self.all if among is None else among
        return [each for each in replicas if await self.leads(each)]

    async def follow_one(self) -> tuple[Replica, list[Replica]]:
        """The leader and the others, once all are ready."""

        async def one_leads() -> list[Replica]:
            ready = all([await self.ready(each) for each in self.all])
            leaders = await self.leaders() if ready else []  # asked one after the other
            return leaders if len(leaders) == 1 else []

        (leader,) = await eventually(one_leads, "all control planes are ready, and one leads")
        return leader, [each for each in self.all if each is not leader]

    async def apply(self, replica: Replica, document: dict[str, Any] | None = None) -> None:
        body = {"document": document or DOCUMENT}
        status, answer = await self.call(replica, "POST", "/v1/changesets", body)
        assert status == 201, answer
        if document is None:
            await eventually(self._is_judged, "the leader has heard of the relays")

    async def _is_judged(self) -> bool:
        """A prober's word on a relay that the leader does not know yet counts for nothing."""
        path = "/v1/probes/targets"
        status, body = await self.call(self.all[0], "GET", path, role="prober")
        wanted = {each["id"] for each in DOCUMENT["relays"]}
        return status == 200 and wanted <= {each["relay"] for each in body["targets"]}

    async def report(self, replica: Replica, **views: str) -> int:
        """A prober's views, `fra_1="up"`; the HTTP status."""
        now = datetime.now(UTC).isoformat()
        body = {
            "prober": "a",
            "vantage": "a",
            "sent_at": now,
            "views": [
                {"relay": name.replace("_", "-"), "verdict": view, "since": now, "checked_at": now}
                for name, view in views.items()
            ],
        }
        return (await self.call(replica, "POST", "/v1/probes/results", body, "prober"))[0]

    def edge(self, name: str, *urls: str, chance: float = 0.0) -> FollowingEdge:
        """An edge's follower and its shelf, without workers."""
        key = bytes.fromhex((self.folder / "state/snapshot.pub").read_text())
        shelf = SnapshotStore(self.folder / name, Ed25519PublicKey.from_public_bytes(key))
        return FollowingEdge(shelf, urls, self.token("edge"), chance)


class FollowingEdge:
    """What an edge takes from the feed."""

    def __init__(
        self, shelf: SnapshotStore, urls: Sequence[str], token: str, chance: float
    ) -> None:
        self.shelf = shelf
        self.seen: list[int] = []
        """Numbers of the statuses taken, in order."""
        self.deltas = 0
        self.follower = FeedFollower(urls, token, shelf, self._take, chance=lambda: chance)

    def _take(self, snapshot: Snapshot) -> None:
        self.deltas += isinstance(snapshot, Delta)
        if isinstance(snapshot, Status | Delta):
            self.seen.append(snapshot.number)

    def verdict(self, relay: str) -> str:
        status = self.shelf.status
        found = status.relays.get(relay) if status else None
        return found.verdict if found else ""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[FollowingEdge]:
        task = asyncio.create_task(self.follower.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def sees(self, within_s: float = DEADLINE_S, **verdicts: str) -> None:
        """Wait until the status it holds says so."""
        wanted = {name.replace("_", "-"): verdict for name, verdict in verdicts.items()}

        async def holds() -> bool:
            return all(self.verdict(name) == verdict for name, verdict in wanted.items())

        await eventually(holds, f"the edge sees {wanted}", within=within_s)


@contextlib.asynccontextmanager
async def replicas(folder: Path, database_url: str, number: int = 2) -> AsyncIterator[Replicas]:
    """`number` control planes; whatever still lives at the end is killed."""
    async with aiohttp.ClientSession() as session:
        made = Replicas(folder, database_url, session)
        try:
            for _ in range(number):
                made.add()
            yield made
        finally:
            for replica in made.all:
                replica.end()
