"""The snapshot stream as an edge reads it: over HTTP, line by line."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from firsthop_controlplane.store.migrate import migrate
from firsthop_steering.feed.snapshot import Plan, Snapshot, kind_of, supersedes, unseal
from support.waiting import DEADLINE_S, eventually

pytestmark = pytest.mark.database
FRA = {"id": "fra", "latitude": 50.11, "longitude": 8.68}
LINE_LIMIT = 2**26


class Stream:
    """An open stream; every line is unsealed with the public key of the state folder."""

    def __init__(self, api: Any, response: Any) -> None:
        text = (api.state_dir / "snapshot.pub").read_text()
        self._key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
        self._response = response

    async def line(self) -> bytes:
        async with asyncio.timeout(DEADLINE_S):
            return bytes(await self._response.content.readuntil(b"\n", max_size=LINE_LIMIT))

    async def snapshot(self) -> Snapshot:
        while not (line := await self.line()).strip():
            pass
        snapshot = unseal(line, self._key)
        assert isinstance(snapshot, Snapshot), snapshot
        return snapshot

    async def first(self) -> dict[str, Snapshot]:
        """The three that a new reader is told."""
        found = [await self.snapshot() for _ in range(3)]
        assert [kind_of(each) for each in found] == ["plan", "keys", "status"]
        return {kind_of(each): each for each in found}

    async def ended(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            with contextlib.suppress(Exception):
                while await self._response.content.readuntil(b"\n"):
                    pass


@contextlib.asynccontextmanager
async def _open(api: Any, secret: str, query: str = "") -> AsyncIterator[Stream]:
    headers = {"Authorization": f"Bearer {secret}"}
    url = f"{api.url}/v1/snapshots/stream{query}"
    async with api.session.get(url, headers=headers) as response:
        assert response.status == 200
        yield Stream(api, response)


async def test_a_reader_is_told_everything_then_every_change_at_once(start_api: Any) -> None:
    """Plan, keys, status; then the plan that a POST made, and the keys of a rotation."""
    api = await start_api(poll_s=3600.0)  # nobody looks for news: who makes them tells
    secret = await api.token_of("edge")
    async with _open(api, secret) as stream:
        first = await stream.first()
        assert first["plan"].number == 0
        await api.made("/v1/regions", FRA)
        plan = await stream.snapshot()
        assert isinstance(plan, Plan)
        assert (plan.number, plan.document.regions[0].id) == (1, "fra")
        await api.made("/v1/keys", {})
        keys = await stream.snapshot()
        assert (kind_of(keys), keys.number) == ("keys", first["keys"].number + 1)


async def test_an_idle_stream_says_that_it_lives(start_api: Any) -> None:
    """Empty lines at the heartbeat."""
    api = await start_api(heartbeat_s=0.05)
    async with _open(api, await api.token_of("edge")) as stream:
        await stream.first()
        assert [await stream.line() for _ in range(3)] == [b"\n"] * 3


async def test_what_a_reader_holds_is_not_sent_again(start_api: Any) -> None:
    """Numbers count within their lineage only."""
    api = await start_api(heartbeat_s=0.05)
    secret = await api.token_of("edge")
    await api.made("/v1/regions", FRA)
    async with _open(api, secret) as stream:
        held = await stream.first()
    numbers = "&".join(f"{kind}={each.number}" for kind, each in held.items())
    async with _open(api, secret, f"?lineage={held['plan'].lineage}&{numbers}") as stream:
        assert await stream.line() == b"\n"
        await api.patch("/v1/regions/fra", {"weight": 1})
        assert (await stream.snapshot()).number == 2
    async with _open(api, secret, f"?lineage=another&{numbers}") as stream:
        assert (await stream.first()).keys() == held.keys()
    async with _open(api, secret, f"?lineage={held['plan'].lineage}&plan=1") as stream:
        assert (await stream.snapshot()).number == 2


async def test_replicas_tell_the_same_bytes(start_api: Any) -> None:
    """A change at one replica reaches the other's readers, signed and byte for byte the same."""
    one, two = await start_api(), await start_api()
    secret = await one.token_of("edge")
    async with _open(one, secret) as near, _open(two, secret) as far:
        for stream in (near, far):
            await stream.first()
        await one.made("/v1/regions", FRA)
        lines = []
        for stream in (near, far):
            while b'"plan"' not in (line := await stream.line()):
                pass
            lines.append(line)
        assert lines[0] == lines[1]


async def test_many_changes_reach_a_reader_as_the_newest(api: Any) -> None:
    """Numbers only rise, and the last one arrives."""
    async with _open(api, await api.token_of("edge")) as stream:
        await stream.first()
        for number in range(20):
            await api.made("/v1/regions", FRA | {"id": f"r{number}"})
        seen = [0]
        while seen[-1] != 20:
            snapshot = await stream.snapshot()
            if isinstance(snapshot, Plan):
                assert snapshot.number > seen[-1]
                seen.append(snapshot.number)


async def test_a_stuck_reader_is_dropped_and_others_are_served(start_api: Any) -> None:
    """One that takes nothing is aborted; one beside it gets every change."""
    api = await start_api(stuck_after_s=0.3)
    secret = await api.token_of("edge")
    stuck = socket.socket()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    host, port = api.url.removeprefix("http://").split(":")
    await asyncio.get_running_loop().run_in_executor(None, stuck.connect, (host, int(port)))
    request = ("GET /v1/snapshots/stream HTTP/1.1", "Host: x", f"Authorization: Bearer {secret}")
    stuck.sendall("\r\n".join((*request, "", "")).encode())

    async def metric(name: str) -> float:
        text = (await api.get("/metrics")).body.decode()
        return float(next(each for each in text.splitlines() if each.startswith(name)).split()[-1])

    async with _open(api, secret) as stream:
        await stream.first()

        async def two() -> bool:
            return await metric("firsthop_feed_readers ") == 2

        await eventually(two, "both are reading")
        strings = " ".join(f'"{"x" * 250}"' for _ in range(238))
        records = [
            {"owner": f"x{n}.edge.example", "type": "TXT", "rdata": strings} for n in range(50)
        ]
        zone = {
            "apex": "edge.example",
            "primary": "n.edge.example",
            "contact": "o.edge.example",
            "name_servers": ["n.edge.example"],
            "records": records,
        }
        number = 0
        while await metric("firsthop_feed_stuck_readers_total") < 1:
            number += 1
            assert number < 60, "it took everything"
            body = {"document": {"zones": [zone | {"minimum": number}]}}
            await api.made("/v1/changesets", body)
            assert (await stream.snapshot()).number >= number - 1

        async def one() -> bool:
            return await metric("firsthop_feed_readers ") == 1

        await eventually(one, "the stuck one is gone")
    stuck.close()


async def test_a_revoked_token_ends_its_stream(start_api: Any) -> None:
    """Within a heartbeat."""
    api = await start_api(heartbeat_s=0.05)
    made = (await api.made("/v1/tokens", {"name": "e", "role": "edge"})).body
    async with _open(api, made["secret"]) as stream:
        await stream.first()
        await api.delete(f"/v1/tokens/{made['id']}")
        await stream.ended()


async def test_edges_accept_the_plan_and_keys_of_a_restored_backup(
    start_api: Any, database_url: str
) -> None:
    """The numbers of a backup are lower than those that edges have; `migrate --restored` makes them
    of another lineage, created now. Statuses and guidance follow the plan."""
    api = await start_api()
    await api.made("/v1/regions", FRA)
    secret = await api.token_of("edge")
    async with _open(api, secret) as stream:
        backup = await stream.first()
    await api.stop()
    for restored in (False, True):
        await migrate(database_url, restored=restored)
        api = await start_api()
        async with _open(api, secret) as stream:
            given = await stream.first()
        await api.stop()
        for kind in ("plan", "keys", "status"):
            held = backup[kind].model_copy(update={"number": backup[kind].number + 10**12})
            assert supersedes(given[kind], held) is restored, kind
        assert given["plan"].document == backup["plan"].document
