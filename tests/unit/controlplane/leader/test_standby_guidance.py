"""Prices and learned latency on a standby: it feeds its own edges what the leader says."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firsthop_controlplane.feed.feed import Feed
from firsthop_controlplane.leader.peers import Peers
from firsthop_steering.feed.snapshot import Latency, Prices, seal

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
T0 = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_standby_takes_the_newest_and_nothing_older() -> None:
    """Each kind by itself, signed by the common key; readers of its own are told."""
    feed = Feed(KEY)
    election: Any = SimpleNamespace()
    peers = Peers(election, feed, KEY.public_key(), "secret")
    prices = [Prices(number=n, lineage="a", created_at=T0, now={"fra": n}) for n in (1, 2)]
    latency = Latency(number=9, lineage="a", created_at=T0)
    for each in (prices[1], latency, prices[0]):
        peers.accept(seal(each, KEY))
    assert (feed.guidance.prices, feed.guidance.latency) == (prices[1], latency)
    foreign = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    peers.accept(seal(prices[1].model_copy(update={"number": 3}), foreign))
    assert feed.guidance.prices == prices[1]
