"""A real browser measures relays with the allocator's snippet, and its samples arrive."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from firsthop_allocator.settings import AllocatorSettings
from support.allocator_server import DIGESTS
from support.allocator_server import running as running_allocator
from support.allocator_world import REGIONS, state_of
from support.browsers import page, why_not
from support.calls import CALL_S, MEDIA, relay
from support.standin import own_address
from support.waiting import eventually

PUBLIC = AllocatorSettings(token_digests=DIGESTS, public=True, demo=True)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.xdist_group("deployment"),
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
]


async def test_a_page_measures_every_relay_that_answers_and_reports_once(tmp_path: Path) -> None:
    """By checks alone, which relays answer themselves: no flow opens, and nothing else is sent."""
    async with AsyncExitStack() as stack:
        relays = [await stack.enter_async_context(relay(tmp_path, [])) for _ in range(2)]
        places = [*(each.address for each in relays), own_address()]  # the last one is dead
        allocator = await stack.enter_async_context(running_allocator(PUBLIC, within=CALL_S))
        allocator.holder.state = state_of(
            regions=REGIONS[:3],
            relays=[
                {"id": f"{region['id']}-1", "region": region["id"], "ipv4": host}
                for region, host in zip(REGIONS[:3], places, strict=True)
            ],
            transceiver_regions=MEDIA,
        )
        tab = await stack.enter_async_context(page(f"{allocator.url}/demo"))
        faults: list[str] = []
        tab.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        samples = await tab.evaluate("import('/v1/race.js').then(({ race }) => race())")
        alive = {f"{region['id']}-1" for region in REGIONS[:2]}
        assert {each["relay"] for each in samples} == alive
        assert all(0 < each["rtt_ms"] < 1000 for each in samples)

        async def taken() -> bool:
            text = await tab.evaluate("fetch('/metrics').then((answer) => answer.text())")
            return 'firsthop_client_samples_total{result="taken"} 2.0' in text

        await eventually(taken, "the beacon arrived")
        for each in relays:
            counts = await each.counts()
            assert counts["packets_answered_total"] >= 1
            assert counts["flows_opened_total"] == 0
            assert sum(n for name, n in counts.items() if "packets_dropped" in name) == 0
        assert faults == []
