"""kill -9 during a call: with its journal a relay goes on at once, without it by the next check."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.media import RTP, Client, adds_up, credential, far_end
from support.relays import CLIENTS, Options, counted_by, started, workers_of
from support.standin import keyset, write_route_keys

pytestmark = pytest.mark.e2e


async def test_media_goes_on_before_the_next_check(tmp_path: Path) -> None:
    """The next process has the flows and their upstream ports; no client and no far end notices."""
    keys, options = keyset(), Options(tmp_path, workers=1)
    write_route_keys(tmp_path / "keys", keys)
    async with far_end(keys) as far:
        clients = [Client(options.address) for _ in range(CLIENTS)]
        async with started(options, tmp_path, far) as relay:
            for client in clients:
                await client.connect(credential(keys))
            await relay.kill()
        sources = set(far.sources)
        async with started(options, tmp_path, far):
            for client in clients:
                assert await client.echo()
            assert set(far.sources) == sources
            counted = await counted_by(options, sessions=CLIENTS)
            assert counted["flows_restored_total"] == CLIENTS
            assert adds_up(counted)
    for client in clients:
        client.close()


async def test_a_worker_that_dies_goes_on_with_its_flows(tmp_path: Path) -> None:
    """The others do not notice; what came for it waits; its counters do not fall."""
    keys, options = keyset(), Options(tmp_path, workers=2)
    write_route_keys(tmp_path / "keys", keys)
    async with far_end(keys) as far, started(options, tmp_path, far) as relay:
        clients = [Client(options.address) for _ in range(CLIENTS)]
        for client in clients:
            await client.connect(credential(keys))
        sources = set(far.sources)
        before = await counted_by(options, sessions=CLIENTS)
        workers_of(options)[0].kill()
        for client in clients:
            assert await client.echo()
        assert set(far.sources) == sources
        await relay.said("flows.restored")
        after = await counted_by(options, sessions=CLIENTS)
        name = 'packets_forwarded_total{to="upstream"}'
        assert after[name] >= before[name]
        for client in clients:
            client.close()


async def test_without_a_journal_the_next_check_rebuilds_the_flow(tmp_path: Path) -> None:
    keys, options = keyset(), Options(tmp_path, workers=1)
    write_route_keys(tmp_path / "keys", keys)
    async with far_end(keys) as far:
        client, session = Client(options.address), credential(keys)
        async with started(options, tmp_path, far) as relay:
            await client.connect(session)
            await relay.kill()
        (tmp_path / "state" / "flows-0.journal").unlink()
        async with started(options, tmp_path, far):
            assert await client.ask(RTP) is None
            await client.connect(session)
            assert await client.echo()
            client.close()


async def test_a_journal_that_cannot_be_had_costs_only_itself(tmp_path: Path) -> None:
    keys, options = keyset(), Options(tmp_path, workers=1)
    write_route_keys(tmp_path / "keys", keys)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "flows-0.journal").mkdir()
    async with far_end(keys) as far, started(options, tmp_path, far) as relay:
        await relay.said("journal.open_failed")
        client = Client(options.address)
        await client.connect(credential(keys))
        assert await client.echo()
        client.close()


async def test_an_upstream_that_is_no_longer_allowed_is_not_restored(tmp_path: Path) -> None:
    """The table at the start decides, not the journal."""
    keys, options = keyset(), Options(tmp_path, workers=1)
    write_route_keys(tmp_path / "keys", keys)
    async with far_end(keys) as far, far_end(keys) as other:
        client = Client(options.address)
        async with started(options, tmp_path, far) as relay:
            await client.connect(credential(keys))
            await relay.kill()
        heard = far.sources.total()
        async with started(options, tmp_path, other):
            assert await client.ask(RTP) is None
            assert far.sources.total() == heard
            client.close()
