"""A real browser's packets reach the chosen region: Debian's Chromium through a relay's place."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from firsthop_ice.ufrag import claims
from support.allocator_server import BEARER
from support.browsers import page, why_not
from support.calls import world
from support.waiting import eventually

OUTAGE_S = 2.0
"""Longer than a lost packet can be sent again for."""

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.xdist_group("deployment"),
]


async def test_message_and_audio_go_by_the_relay_and_come_back(tmp_path: Path) -> None:
    """Audio has energy, no pair goes anywhere else, and a restart of ICE keeps the call."""
    async with (
        world(tmp_path, through=True) as (here, relay),
        page(f"{here.allocator.url}/healthz") as tab,
    ):
        assert relay is not None
        made = await tab.evaluate(
            "([url, headers]) => open_call(url, headers, {audio: true})", [here.url, BEARER]
        )
        ufrag = made["etag"].strip('"')
        name = claims(ufrag)
        assert name is not None
        assert name.region == 7
        assert await tab.evaluate("echo('hello')") < 5000
        assert (await tab.evaluate("heard()"))["energy"] > 0
        assert await tab.evaluate("remote_ends()") == [f"{relay.address}:3478"]
        assert relay.ufrags == {ufrag}

        restarted = await tab.evaluate("restart_ice()")
        assert await tab.evaluate("echo('after the restart')") < 5000
        await relay.checked(restarted["ufrag"])
        again = claims(restarted["ufrag"])
        assert again is not None
        assert (again.region, again.transceiver) == (name.region, name.transceiver)

        assert await tab.evaluate("hang_up()") == 200
        assert relay.packets["in"] > 30

        async def all_came_by_the_relay() -> bool:
            counted = await here.transceivers[0].counts()
            return counted["packets_received_total"] == relay.packets["in"]

        await eventually(
            all_came_by_the_relay, "the transceiver has got what the relay has sent it"
        )


async def test_a_relay_that_forgets_the_call_is_no_end_of_it(tmp_path: Path) -> None:
    """The browser's next check makes the flow anew, from another address, and media go on."""
    async with (
        world(tmp_path, through=True) as (here, relay),
        page(f"{here.allocator.url}/healthz") as tab,
    ):
        assert relay is not None
        await tab.evaluate("([url, headers]) => open_call(url, headers)", [here.url, BEARER])
        await tab.evaluate("echo('before')")
        relay.forget()
        await tab.evaluate("echo('after', 10000)")
        assert (await here.transceivers[0].counts())['sessions_total{result="opened"}'] == 1


async def test_the_picture_is_back_soon_after_an_outage(tmp_path: Path) -> None:
    """Both ends ask for keyframes until one comes: the echo is seen again within two seconds."""
    async with (
        world(tmp_path, through=True) as (here, relay),
        page(f"{here.allocator.url}/healthz") as tab,
    ):
        assert relay is not None
        await tab.evaluate(
            "([url, headers]) => open_call(url, headers, {video: true})", [here.url, BEARER]
        )
        await tab.evaluate("more_pictures(30, 10000)")
        relay.dead = True
        asyncio.get_running_loop().call_later(OUTAGE_S, setattr, relay, "dead", False)
        await tab.evaluate(f"new Promise((done) => setTimeout(done, {OUTAGE_S * 1000}))")
        assert await tab.evaluate("more_pictures(5, 10000)") < 2000
