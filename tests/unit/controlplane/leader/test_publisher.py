"""What a leader publishes: numbered within its term, and only while it leads."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firsthop_controlplane.feed.feed import Feed
from firsthop_controlplane.leader.leadership import (
    UNSURE_S,
    Leader,
    Lease,
    Standby,
    first_number,
)
from firsthop_controlplane.leader.publisher import Publisher
from firsthop_controlplane.leader.replica import ReplicaLeadership
from firsthop_steering.feed.snapshot import Prices

T0 = datetime(2026, 1, 1, tzinfo=UTC)


class LeadingReplica:
    """One replica that leads in term 3, its feed, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.feed = Feed(Ed25519PrivateKey.from_private_bytes(bytes(32)))
        self.leadership = ReplicaLeadership(url="", clock=lambda: self.now)
        self.leadership.state = Leader(Lease(3, "this"), asked_at=0.0, renewed_at=0.0)
        self.publisher = Publisher(self.feed, self.leadership)
        self.publisher.begin(3)

    def prices(self, number: int | None = None) -> Prices:
        number = self.publisher.next_number if number is None else number
        return Prices(number=number, lineage="a", created_at=T0)


async def test_numbers_rise_within_the_term() -> None:
    """A number that was used is never used again, and a later term's are all higher."""
    world = LeadingReplica()
    for each in (1, 2, 3):
        assert world.publisher.next_number == first_number(3) + each
        assert await world.publisher.publish_large(world.prices())
    last = world.feed.guidance.prices
    assert last is not None
    assert last.number == first_number(3) + 3
    world.publisher.begin(4)
    assert world.publisher.next_number == first_number(4) + 1 > last.number


async def test_nothing_is_published_when_the_leadership_ends_while_it_is_sealed() -> None:
    """Another leads by then, this replica is unsure, or it leads in another term."""
    world = LeadingReplica()
    made = world.prices()
    world.leadership.state = Standby()
    assert not await world.publisher.publish_large(made)
    world = LeadingReplica()
    world.now = UNSURE_S
    assert not world.publisher.may_publish()
    assert not await world.publisher.publish_large(made)
    assert world.feed.guidance.prices is None
    assert world.publisher.next_number == first_number(3) + 1, "the number is free still"


async def test_what_the_leader_before_left_never_replaces_anything_newer() -> None:
    """It is published as it is, with the number of its own term."""
    world = LeadingReplica()
    left = world.prices(first_number(2) + 9)
    await world.publisher.restore(left)
    assert world.feed.guidance.prices == left
    await world.publisher.publish_large(world.prices())
    await world.publisher.restore(left)
    assert world.feed.guidance.prices == world.prices(first_number(3) + 1)
