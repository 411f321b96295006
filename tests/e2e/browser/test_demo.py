"""The demo page in a real browser: it calls, shows the way, restarts, hangs up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firsthop.up.children import Child
from firsthop.up.stage import Stage
from firsthop_allocator.settings import AllocatorSettings
from support.allocator_server import BEARER, DIGESTS, SETTINGS, TOKEN
from support.allocator_server import running as running_allocator
from support.browsers import page, why_not
from support.calls import RELAY_PORT, world
from support.waiting import eventually

DEMO = AllocatorSettings(token_digests=DIGESTS, demo=True)
STATISTICS_WAIT = """
() => {
  const released = new Promise((release) => Object.assign(window, { release, faults: [] }));
  window.addEventListener("unhandledrejection", ({ reason }) => faults.push(String(reason)));
  const prototype = RTCPeerConnection.prototype;
  const given = prototype.getStats;
  prototype.getStats = async function () {
    const statistics = await given.call(this);
    window.asked ||= [...statistics.values()].some((each) => each.selectedCandidatePairId);
    await released;
    requestIdleCallback(() => { window.answered = true; });
    return statistics;
  };
}
"""
"""So that the call is hung up while the page asks for them."""

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.xdist_group("deployment"),
]


@pytest.mark.skipif(bool(why_not()), reason=why_not())
async def test_the_page_calls_shows_the_way_and_hangs_up(tmp_path: Path) -> None:
    """All as a visitor does it; nothing is written to the console as an error."""
    async with (
        world(tmp_path, through=True, settings=DEMO) as (here, relay),
        page(f"{here.allocator.url}/demo#token={TOKEN}") as tab,
    ):
        assert relay is not None
        faults: list[str] = []
        tab.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        tab.on("pageerror", lambda error: faults.append(str(error)))

        async def shown(place: str, words: str) -> bool:
            return str(await tab.text_content(f"#{place}")).startswith(words)

        await tab.click("#start")
        await eventually(lambda: shown("said", "Connected"), "connected")
        await eventually(
            lambda: tab.evaluate("Number(document.querySelector('#echo').textContent) > 0"),
            "a message came back",
        )
        await eventually(
            lambda: tab.evaluate("document.querySelector('#heard').value > 0"), "sound came back"
        )
        assert await shown("way-relay", f"fra-1 (fra) {relay.address}:{RELAY_PORT}")
        assert await shown("way-end", "eu-1 (eu)")
        ufrag = await tab.text_content("#ufrag")
        assert ufrag in relay.ufrags
        fields = await tab.text_content("#fields")
        assert "7 = eu" in fields
        assert "1 = eu-1" in fields
        await tab.click("#restart:enabled")
        await eventually(lambda: shown("said", "Connected under a new credential"), "restarted")
        assert not await shown("ufrag", ufrag)
        await relay.checked(await tab.text_content("#ufrag"))
        await tab.evaluate(STATISTICS_WAIT)
        await eventually(lambda: tab.evaluate("window.asked === true"), "statistics are asked for")
        await tab.click("#stop:enabled")
        await tab.wait_for_selector("#start:enabled")
        await tab.evaluate("release()")
        await eventually(
            lambda: tab.evaluate("window.answered === true"), "they are there, too late"
        )
        assert await tab.evaluate("faults") == []
        assert await tab.text_content("#said") == "Not connected."
        assert (await here.transceivers[0].counts())["open_sessions"] == 0
        assert faults == []


async def test_the_page_is_there_only_when_it_is_wanted() -> None:
    """And it may load nothing from anywhere else."""
    async with running_allocator(DEMO) as server:
        for path in ("/demo", "/demo/style.css", "/demo/script.js"):
            async with server.session.get(server.url + path) as response:
                assert response.status == 200
                assert "default-src 'none'" in response.headers["Content-Security-Policy"]
                assert "http://" not in await response.text()
    async with running_allocator(SETTINGS) as server:
        assert (await server.get("/demo"))[0] == 404


async def test_a_relay_is_killed_only_where_there_is_a_stage(tmp_path: Path) -> None:
    """By who bears a token, and only one that the stage has; the button is there with the route."""
    killed = []

    class Sleeper(Child):
        def __init__(self) -> None:
            self.restart_after_s = 20.0

        def kill(self) -> int | None:
            killed.append(self)
            return 4711 if len(killed) == 1 else None

    relays: dict[str, Child] = {"fra-1": Sleeper()}
    stage = Stage(tmp_path, relays.get)
    staged = AllocatorSettings(token_digests=DIGESTS, demo=True, demo_stage=stage.path, public=True)

    async def kill(url: str, relay: str, headers: dict[str, str] = BEARER) -> tuple[int, Any]:
        there = f"{url}/demo/relays/{relay}/kill"
        async with server.session.post(there, headers=headers) as response:
            return response.status, await response.json()

    async with running_allocator(DEMO) as server:
        assert (await kill(server.url, "fra-1"))[0] == 404
        async with server.session.get(f"{server.url}/demo") as response:
            assert 'hidden id="kill"' in await response.text()
    async with running_allocator(staged) as server:
        async with server.session.get(f"{server.url}/demo") as response:
            assert '<button id="kill"' in await response.text()
        assert (await kill(server.url, "fra-1"))[0] == 503
        await stage.start()
        assert (await kill(server.url, "fra-1", {}))[0] == 401
        assert killed == []
        status, document = await kill(server.url, "iad-1")
        assert (status, document["detail"]) == (404, "relay iad-1 does not run on this machine")
        said = {"killed": "fra-1", "pid": 4711, "back_in_s": 20.0}
        assert await kill(server.url, "fra-1") == (200, said)
        status, document = await kill(server.url, "fra-1")
        assert (status, document["detail"]) == (404, "relay fra-1 is dead already")
        await stage.stop()
