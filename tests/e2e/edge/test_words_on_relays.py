"""Whose word on a relay an edge goes by: the operator's, its own vantage's, that of all.

Real control plane, database and edges; three reporters stand for the probers of three vantages.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dns.exception
import pytest

from firsthop.controlplane.explaining import Explainer
from support.deployment import addresses, ask, free_port
from support.geodata import compiled_geodata, give_geodata
from support.standin import running
from support.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.database]
APEX = "edge.example"
DOCUMENT: dict[str, Any] = {
    "regions": [
        {"id": "fra", "latitude": 50.11, "longitude": 8.68},
        {"id": "iad", "latitude": 39.04, "longitude": -77.49},
    ],
    "relays": [
        {"id": "fra-1", "region": "fra", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1",
         "probe": {"slow_start_s": 0}},
        {"id": "iad-1", "region": "iad", "ipv4": "192.0.2.2", "ipv6": "2001:db8::2",
         "probe": {"slow_start_s": 0}},
    ],
    "transceiver_regions": [{"id": "eu", "latitude": 50.0, "longitude": 8.0}],
    "transceivers": [{"id": "eu-1", "region": "eu", "host": "192.0.2.100", "port": 3479}],
    "zones": [{"apex": APEX, "primary": f"ns1.{APEX}", "contact": f"hostmaster.{APEX}",
               "name_servers": [f"ns1.{APEX}"]}],
    "services": [
        {"id": "all", "name": f"all.{APEX}"},
        {"id": "near", "name": f"near.{APEX}", "view": "local"},
    ],
}  # fmt: skip
GERMANY = "91.0.0.0/24"
FRA, IAD = (["192.0.2.1"], ["2001:db8::1"]), (["192.0.2.2"], ["2001:db8::2"])
Answer = tuple[list[str], list[str]]


@dataclass(slots=True)
class Edge:
    """One edge, as a client in Germany sees it."""

    dns: int
    allocator: int

    async def answer(self, service: str) -> Answer:
        """A and AAAA; nothing while it does not answer."""
        try:
            found = [await self.ask(service, kind) for kind in ("A", "AAAA")]
        except (OSError, dns.exception.Timeout):
            return [], []
        return addresses(found[0]), addresses(found[1])

    async def ask(self, name: str, kind: str) -> Any:
        return await asyncio.to_thread(
            ask, self.dns, GERMANY, name=f"{name}.{APEX}.", kind=kind, tcp=kind == "TXT"
        )


@dataclass(slots=True)
class Vantages:
    """A control plane, what three vantages see, and edges to ask."""

    api: Any
    folder: Path
    allocating: str
    """Token of those who ask allocators."""
    tokens: dict[str, str] = field(default_factory=dict)
    down: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    """Of each vantage the addresses that it does not reach."""

    async def report(self) -> None:
        """Every vantage says what it sees."""
        now = datetime.now(UTC).isoformat()
        for vantage, token in self.tokens.items():
            views = [
                {"relay": relay["id"], "family": family, "since": now, "checked_at": now,
                 "verdict": "down" if (relay["id"], family) in self.down[vantage] else "up"}
                for relay in DOCUMENT["relays"]
                for family in ("ipv4", "ipv6")
            ]  # fmt: skip
            said = {"prober": vantage, "vantage": vantage, "sent_at": now, "views": views}
            told = await self.api.call("POST", "/v1/probes/results", said, token=token)
            assert told.status == 204, told

    def misses(self, vantage: str, *relays: str) -> None:
        """From now on it reaches none of these relays, by no address."""
        self.down[vantage] = {(each, family) for each in relays for family in ("ipv4", "ipv6")}

    async def asked(self, edge: Edge, path: str, body: Any = None) -> Any:
        """What its allocator says."""
        api = replace(self.api, url=f"http://127.0.0.1:{edge.allocator}")
        method = "GET" if body is None else "POST"
        answer = await api.call(method, path, body, token=self.allocating)
        assert answer.status in (200, 201), answer
        return answer.body

    @asynccontextmanager
    async def edge(self, region: str) -> AsyncIterator[Edge]:
        """An edge in a region."""
        edge = Edge(free_port(), free_port())
        give_geodata(self.folder / region)
        process = running(
            "edge",
            FIRSTHOP_API_URL=self.api.url,
            FIRSTHOP_TOKEN=await self.api.token_of("edge"),
            FIRSTHOP_SNAPSHOT_KEY=str(self.api.state_dir / "snapshot.pub"),
            FIRSTHOP_STATE_DIR=str(self.folder / region),
            FIRSTHOP_EDGE_REGION=region,
            FIRSTHOP_DNS_LISTEN=f"127.0.0.1:{edge.dns}",
            FIRSTHOP_DNS_WORKERS="1",
            FIRSTHOP_ALLOCATOR_LISTEN=f"127.0.0.1:{edge.allocator}",
            FIRSTHOP_METRICS_LISTEN=f"127.0.0.1:{free_port()}",
        )
        async with process:
            yield edge


@pytest.fixture
async def world(start_api: Any, tmp_path: Path) -> Vantages:
    """All relays are reached from everywhere."""
    api = await start_api(explain=Explainer(None, None, compiled_geodata()))
    await api.made("/v1/changesets", {"document": DOCUMENT})
    made = Vantages(api, tmp_path, await api.token_of("allocator"))
    for vantage in ("eu", "us", "asia"):
        made.tokens[vantage] = await api.token_of("prober", vantage)
        made.down[vantage] = set()
    return made


async def test_an_edge_goes_by_its_own_vantage_where_the_service_wants_it(world: Vantages) -> None:
    """It leaves out what it cannot reach, other edges do not, and it says whose word that is."""
    async with AsyncExitStack() as stack:
        eu = await stack.enter_async_context(world.edge("eu"))
        us = await stack.enter_async_context(world.edge("us"))

        async def answer(eu_near: Answer, *others: Answer) -> None:
            """Of the edge in eu for the service with its own view, and of all else."""

            async def right() -> bool:
                await world.report()
                asked = [(eu, "near"), (eu, "all"), (us, "near"), (us, "all")]
                found = [await edge.answer(service) for edge, service in asked]
                return found == [eu_near, *others]

            await eventually(right, f"{eu_near} from eu, and {others}")

        await answer(FRA, FRA, FRA, FRA)
        world.misses("eu", "fra-1")
        await answer(IAD, FRA, FRA, FRA)

        client = {"client_ip": "91.0.0.1", "service": "near"}
        made = await world.asked(eu, "/v1/allocations", client)
        assert (made["relays"][0]["id"], made["relays"][0]["by"]) == ("iad-1", "local")
        assert made["relays"][0]["since"] <= made["created_at"]
        ranked = await world.asked(eu, "/v1/regions?client_ip=91.0.0.1&service=near")
        fra = next(each for each in ranked["regions"] if each["id"] == "fra")
        assert (fra["relays"][0]["verdict"], fra["relays"][0]["by"]) == ("down", "local")
        told = [str(each) for each in (await eu.ask("whoami", "TXT")).answer[0]]
        (near,) = [each for each in told if "service=near" in each]
        (everywhere,) = [each for each in told if "service=all" in each]
        assert "relays=iad-1 by=local/" in near
        assert "relays=fra-1 by=global/" in everywhere
        path = "/v1/explain?service=near&client=91.0.0.1"
        seen = {
            vantage: (await world.api.get(f"{path}&vantage={vantage}")).body["region"]
            for vantage in ("eu", "us")
        }
        assert seen == {"eu": "iad", "us": "fra"}

        # Cut off from all it is not believed; in one family, it is not believed of that family.
        world.misses("eu", "fra-1", "iad-1")
        await answer(FRA, FRA, FRA, FRA)
        world.down["eu"] = {("fra-1", "ipv6"), ("iad-1", "ipv6")}
        await answer(FRA, FRA, FRA, FRA)
        world.down["eu"] = {("fra-1", "ipv6")}
        await answer((FRA[0], IAD[1]), FRA, FRA, FRA)  # each family is steered by itself
        world.misses("eu")
        await answer(FRA, FRA, FRA, FRA)


async def test_the_operators_word_holds_until_it_is_taken_back_or_ends(world: Vantages) -> None:
    """In both directions, for both families, for DNS and allocations, beside what is measured."""

    async with world.edge("eu") as edge:

        async def answers(wanted: Answer) -> None:
            async def right() -> bool:
                await world.report()
                if await edge.answer("all") != wanted:
                    return False
                body = {"client_ip": "91.0.0.1", "service": "all"}
                made = await world.asked(edge, "/v1/allocations", body)
                return [made["relays"][0]["ipv4"]] == wanted[0]

            await eventually(right, f"answers {wanted}")

        async def say(word: Any) -> None:
            tag = (await world.api.get("/v1/relays/fra-1")).etag
            path = "/v1/relays/fra-1?force=true"  # it moves everybody here
            answer = await world.api.call("PATCH", path, {"forced": word}, headers=tag)
            assert answer.status == 200, answer

        await answers(FRA)
        await say({"verdict": "down", "note": "rack move"})
        await answers(IAD)
        status = (await world.api.get("/v1/status")).body
        assert status["relays"]["fra-1"]["verdict"] == "up", "what is measured stays to be seen"
        assert status["forced"]["fra-1"]["verdict"] == "down"
        path = "/v1/explain?service=all&client=91.0.0.1"
        candidates = (await world.api.get(path)).body["candidates"]
        words = next(each["endpoints"] for each in candidates if each["region"] == "fra")
        assert words == {"fra-1": "down, forced, measured up"}
        await say(None)
        await answers(FRA)
        assert (await world.api.get("/v1/status")).body["forced"] == {}

        for vantage in world.tokens:
            world.misses(vantage, "fra-1")
        await answers(IAD)
        await say({"verdict": "up"})
        await answers(FRA)
        ends = datetime.now(UTC) + timedelta(seconds=3)
        await say({"verdict": "up", "until": ends.isoformat()})
        number = (await world.api.get("/v1/revisions")).body
        await answers(IAD)
        assert datetime.now(UTC) >= ends, "not before its end"
        assert (await world.api.get("/v1/revisions")).body == number, "nobody changed anything"
