"""A real edge without a control plane, a real relay with more sessions than it can carry."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firsthop_steering.feed.snapshot import Plan, RelayStatus, Snapshot, Status, kind_of, seal
from firsthop_steering.plan.document import Document
from support.deployment import free_port
from support.fed_edge import DOCUMENT, FedEdge
from support.media import Client, check, credential
from support.relays import CLIENTS, site
from support.waiting import until

pytestmark = pytest.mark.e2e

IMPATIENT = """
import firsthop.edge.reporting.demand
firsthop.edge.reporting.demand.REPORT_S = 1.0
import firsthop.edge.isolation.relay_loads
firsthop.edge.isolation.relay_loads.INTERVAL_S = 0.5
import firsthop_steering.planner.planner
firsthop_steering.planner.planner.WARM_UP_S = 1.0
import firsthop.edge.isolation.detector
firsthop.edge.isolation.detector.SILENT_S = 1.0
"""
SUBNETS = [f"91.0.{number}.0/24" for number in range(100)]
"""All of them in Germany."""
MUNICH = "127.0.10.9"


def write_snapshots(edge: FedEdge, relay: str, keys: Snapshot, key: Ed25519PrivateKey) -> None:
    """Frankfurt, where two thirds of the sessions have room, and Munich, which states no limit."""
    regions = [DOCUMENT["regions"][0], {"id": "muc", "latitude": 48.14, "longitude": 11.58}]
    relays = [
        {"id": "fra-1", "region": "fra", "ipv4": relay, "capacity": CLIENTS * 2 // 3},
        {"id": "muc-1", "region": "muc", "ipv4": MUNICH},
    ]
    document: dict[str, Any] = {**DOCUMENT, "regions": regions, "relays": relays}
    yesterday = datetime.now(UTC) - timedelta(days=1)
    up = RelayStatus(verdict="up", since=yesterday)
    common: dict[str, Any] = {"number": 7, "lineage": "a", "created_at": yesterday}
    (edge.state / "snapshots").mkdir()
    for each in (
        Plan(**common, document=Document.model_validate(document)),
        Status(**common, relays={"fra-1": up, "muc-1": up}),
        keys.model_copy(update={"lineage": "a", "created_at": yesterday}),
    ):
        (edge.state / f"snapshots/{kind_of(each)}.snapshot").write_bytes(seal(each, key))


async def test_alone_it_sends_some_elsewhere_when_a_relay_says_that_it_is_full(
    tmp_path: Path,
) -> None:
    """As many as there is no room for, and no more; what it was told last charges nobody."""
    key = Ed25519PrivateKey.generate()
    public = tmp_path / "snapshot.pub"
    public.write_text(key.public_key().public_bytes_raw().hex())
    api = f"http://127.0.0.1:{free_port()}"
    edge = FedEdge(tmp_path, api=api, token="nobody", key=public)

    def sent() -> Counter[str]:
        return Counter(address for subnet in SUBNETS for address in edge.answer(subnet))

    async with site(tmp_path) as there:
        write_snapshots(edge, there.address[0], there.keys, key)
        calls = [(Client(there.address), credential(there.keys)) for _ in range(CLIENTS)]
        for client, its in calls:
            await client.connect(its)
        with edge.running(PYTHONPATH=edge.patched(IMPATIENT)):
            async with asyncio.timeout(120):
                await asyncio.to_thread(until, edge.ready, "the edge is ready")
                assert (await asyncio.to_thread(sent)).keys() == {there.address[0]}
                # 16 of 24 have room, and are filled to 85 %: 57 of a hundred, by buckets.
                while not 40 <= (found := await asyncio.to_thread(sent))[there.address[0]] <= 75:
                    for client, its in calls:
                        await client.ask(check(its))
            assert found.keys() == {there.address[0], MUNICH}
            assert (await asyncio.to_thread(edge.said))["alone"]
        for client, _ in calls:
            client.close()
