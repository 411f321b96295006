"""Real transceivers register at a real control plane, and a relay follows what becomes of them."""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from firsthop_ice.region_keys import RegionKeys
from firsthop_ice.ufrag import Credential, RouteKeys, mint_ufrag
from support.calls import MEDIA_PORT, SIGNALLING_PORT, Transceiver
from support.media import Client
from support.standin import Process, own_address, running
from support.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.database]
pytest.importorskip("aiortc")
DOCUMENT = {
    "transceiver_regions": [
        {"id": "eu", "latitude": 50.1, "longitude": 8.7, "networks": ["127.0.0.0/8"]}
    ]
}
BATCH = 16
"""Sessions that are spread over two transceivers: one in 30,000 times to one of them alone."""


@dataclass
class Registering:
    """A control plane, a relay, and the addresses of two transceivers."""

    api: Any
    token: str
    relay: str = field(default_factory=own_address)
    addresses: dict[str, str] = field(
        default_factory=lambda: {"eu-1": own_address(), "eu-2": own_address()}
    )

    def transceiver(self, name: str, **more: str) -> AbstractAsyncContextManager[Process]:
        """Its process, which is told no wire id."""
        address = self.addresses[name]
        return running(
            "transceiver",
            FIRSTHOP_TRANSCEIVER_LISTEN=f"{address}:{MEDIA_PORT}",
            FIRSTHOP_TRANSCEIVER_SIGNALLING=f"{address}:{SIGNALLING_PORT}",
            FIRSTHOP_REGION_KEYS=str(self.api.state_dir / "regions" / "eu.keys"),
            FIRSTHOP_TRANSCEIVER_ID=name,
            FIRSTHOP_TRANSCEIVER_REGION="eu",
            FIRSTHOP_API_URL=f"http://127.0.0.1:1,{self.api.url}",
            FIRSTHOP_TOKEN=self.token,
            **more,
        )

    @asynccontextmanager
    async def relaying(self) -> AsyncIterator[None]:
        """With the relay, by what the control plane publishes."""
        environment = {
            "FIRSTHOP_RELAY_LISTEN": f"{self.relay}:3478",
            "FIRSTHOP_ROUTE_KEYS": str(self.api.state_dir / "route.keys"),
            "FIRSTHOP_ROUTES": str(self.api.state_dir / "routes.json"),
        }
        async with running("relay", **environment) as relay:
            await relay.said("relay.listening")
            yield

    async def planned(self) -> dict[str, Any]:
        items = (await self.api.get("/v1/transceivers")).body["items"]
        return {each["id"]: each for each in items}

    async def is_(self, name: str, **wanted: Any) -> bool:
        """Whether the status says just this of a transceiver."""
        known = (await self.api.get("/v1/status")).body["transceivers"].get(name, {})
        return bool(wanted.items() <= known.items())

    async def revision(self) -> int:
        return int((await self.api.get("/v1/revisions?limit=1")).body["items"][0]["number"])

    def credential(self) -> Credential:
        """As an allocator gives it: for any transceiver of the region."""
        routes = RouteKeys.from_json((self.api.state_dir / "route.keys").read_text())
        keys = RegionKeys.from_json((self.api.state_dir / "regions" / "eu.keys").read_text())
        ufrag, ends = mint_ufrag(
            routes.by_id[keys.signing],
            keys.signing,
            region=keys.region,
            expires_at=datetime.now(UTC) + timedelta(hours=1),
            entropy=secrets.token_bytes(7),
        )
        return Credential(ufrag, keys.password(ufrag) or "", keys.signing, ends)

    async def answered(self, name: str) -> float:
        """Checks that one transceiver has answered."""
        there = Transceiver("eu", 0, self.addresses[name], None)  # type: ignore[arg-type]
        return (await there.counts())["checks_answered_total"]

    async def connected(self) -> bool:
        """Whether a probe with a new credential is answered through the relay."""
        client = Client((self.relay, 3478))
        try:
            return await client.check(self.credential(), probes=True)
        finally:
            client.close()

    async def all_at(self, name: str) -> bool:
        """Whether that transceiver answers many new sessions, every one of them."""
        before = await self.answered(name)
        found = [await self.connected() for _ in range(BATCH)]
        return all(found) and await self.answered(name) - before == BATCH


@pytest.fixture
async def there(api: Any) -> Registering:
    await api.made("/v1/changesets", {"document": DOCUMENT})
    return Registering(api, await api.token_of("transceiver", "eu"))


async def test_a_transceiver_comes_drains_dies_and_comes_back(there: Registering) -> None:
    """The relay follows; its wire id stays, and nothing is written but that it came."""
    async with there.transceiver("eu-1") as one, there.relaying():
        await one.said("signalling.listening")
        await eventually(
            lambda: there.is_("eu-1", verdict="up", sessions=0, load=0.0), "it is heard"
        )
        made = (await there.planned())["eu-1"]
        assert (made["registered"], made["capacity"]) == (True, 100)
        await eventually(there.connected, "the relay leads to it")

        async with there.transceiver("eu-2") as two:
            await two.said("signalling.listening")
            await eventually(lambda: there.is_("eu-2", verdict="up"), "the second is heard")

            old, credential = Client((there.relay, 3478)), there.credential()

            async def shared() -> bool:
                nonlocal credential
                before, credential = await there.answered("eu-1"), there.credential()
                return (
                    await old.check(credential, probes=True)
                    and await there.answered("eu-1") > before
                )

            await eventually(shared, "a session is at the first")
            one.send(signal.SIGUSR1)
            await eventually(lambda: there.is_("eu-1", draining=True), "it says that it drains")
            await eventually(lambda: there.all_at("eu-2"), "new sessions go to the second")
            before = await there.answered("eu-1")
            assert await old.check(credential, probes=True)
            assert await there.answered("eu-1") == before + 1, "the old one stays"
            old.close()
            one.send(signal.SIGUSR2)
            await eventually(lambda: there.is_("eu-1", draining=False, verdict="up"), "it is back")

            number = await there.revision()
            one.send(signal.SIGKILL)
            await eventually(lambda: there.is_("eu-1", verdict="down"), "its silence is heard")
            await eventually(lambda: there.all_at("eu-2"), "new sessions go to the second")
            async with there.transceiver("eu-1") as again:
                await again.said("signalling.listening")
                await eventually(lambda: there.is_("eu-1", verdict="up"), "it is heard again")
                assert (await there.planned())["eu-1"] == made
                assert await there.revision() == number


async def test_a_transceiver_that_is_ended_says_so(there: Registering) -> None:
    """With a grace when, and that it wants no more sessions; and that it is gone."""
    async with there.transceiver("eu-1", FIRSTHOP_TRANSCEIVER_GRACE_S="60") as one:
        await one.said("signalling.listening")
        await eventually(lambda: there.is_("eu-1", verdict="up"), "it is heard")
        one.send(signal.SIGTERM)
        await eventually(lambda: there.is_("eu-1", draining=True), "it says that it will end")
        assert await one.ended() == 0, "it has no sessions, and does not wait a minute"
    await eventually(lambda: there.is_("eu-1", verdict="down"), "it is gone, by its own word")
    routes = json.loads((there.api.state_dir / "routes.json").read_text())["routes"]
    states = [each["state"] for route in routes for each in route["upstreams"]]
    assert states == ["active"], "nobody else is left, so it is not ruled out"


async def test_one_that_is_deleted_registers_again(there: Registering) -> None:
    """It is told by its next report, and has its wire id again."""
    async with there.transceiver("eu-1") as one:
        await one.said("signalling.listening")
        await eventually(lambda: there.is_("eu-1", verdict="up"), "it is heard")
        made = (await there.planned())["eu-1"]
        assert (await there.api.delete("/v1/transceivers/eu-1")).status == 204

        async def back() -> bool:
            return (await there.planned()).get("eu-1") == made

        await eventually(back, "it is back")
