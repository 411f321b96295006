"""Firefox ESR takes the ufrag, and its packets reach the region that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from field.namespaces import why_not as no_namespaces
from firsthop_allocator.settings import AllocatorSettings
from firsthop_ice.ufrag import UFRAG_LENGTH, claims
from support.allocator_server import BEARER, DIGESTS
from support.call_site import call_site
from support.firefox import page, why_not

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(why_not()), reason=why_not()),
    pytest.mark.skipif(bool(no_namespaces()), reason=no_namespaces()),
    pytest.mark.xdist_group("deployment"),
]


async def test_firefox_calls_through_the_relay(tmp_path: Path) -> None:
    """Data and audio come back, and the relay has had them. Firefox refuses a pair whose mapped
    address is a loopback one."""
    async with call_site(tmp_path) as site, page(f"{site.allocator}/healthz") as tab:
        made = await tab.evaluate(
            "([url, headers]) => open_call(url, headers, {audio: true})", [site.sessions, BEARER]
        )
        ufrag = made["etag"].strip('"')
        name = claims(ufrag)
        assert name is not None
        assert (len(ufrag), name.region) == (UFRAG_LENGTH, 7)
        await tab.evaluate("echo('hello')")
        assert (await tab.evaluate("heard()"))["packets"] > 20
        counted = await site.relay.counts()
        assert counted["sessions"] == 1
        assert counted['packets_forwarded_total{to="upstream"}'] > 20
        assert await tab.evaluate("hang_up()") == 200


async def test_firefox_measures_a_relay(tmp_path: Path) -> None:
    """With the allocator's snippet, as Chromium does."""
    public = AllocatorSettings(token_digests=DIGESTS, public=True)
    async with (
        call_site(tmp_path, settings=public) as site,
        page(f"{site.allocator}/healthz") as tab,
    ):
        samples = await tab.evaluate("import('/v1/race.js').then(({ race }) => race())")
        assert [each["relay"] for each in samples] == ["fra-1"]
        assert 0 < samples[0]["rtt_ms"] < 1000
        assert (await site.relay.counts())["packets_answered_total"] >= 1
