"""What an edge keeps of the feed: accepted whole, refused with a reason, and kept on its disk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firsthop.edge.following.snapshot_store import (
    DELTAS_KEPT,
    FeedGapError,
    OldFeedError,
    SnapshotStore,
)
from firsthop_steering.feed.deltas import delta_between
from firsthop_steering.feed.envelope import VALID_FOR, stamped
from firsthop_steering.feed.snapshot import Status, seal
from support.worlds import NOW, plan_of, status_of

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
DOCUMENT = {
    "regions": [{"id": "fra", "latitude": 50, "longitude": 8}],
    "relays": [{"id": "fra-1", "region": "fra", "ipv4": "192.0.2.1"}],
    "services": [{"id": "s", "name": "s.edge.example."}],
}


def test_the_store_keeps_what_it_accepted(tmp_path: Path) -> None:
    """A new store over the same folder holds the same snapshots; older ones change nothing."""
    store = SnapshotStore(tmp_path / "snapshots", KEY.public_key(), any_age=True)
    plan = plan_of(DOCUMENT, number=5)
    assert store.accept(seal(plan, KEY)) == plan
    assert store.accept(seal(plan_of(DOCUMENT, number=4), KEY)) is None
    assert store.accept(seal(status_of(2), KEY))
    again = SnapshotStore(tmp_path / "snapshots", KEY.public_key(), any_age=True)
    again.load()
    assert (again.plan, again.status, again.keys) == (plan, status_of(2), None)
    assert again.numbers() == {"plan": "5", "status": "2", "lineage": "test"}
    assert not again.rejected


def test_the_store_refuses_what_is_not_genuine(tmp_path: Path) -> None:
    """Tampered, misplaced and foreign files are counted and told; the rest is used."""
    folder = tmp_path / "snapshots"
    store = SnapshotStore(folder, KEY.public_key(), any_age=True)
    store.accept(seal(plan_of(DOCUMENT), KEY))
    store.accept(seal(status_of(2), KEY))
    path = folder / "plan.snapshot"
    path.write_bytes(path.read_bytes().replace(b"192.0.2.1", b"192.0.2.2"))
    (folder / "keys.snapshot").write_bytes((folder / "status.snapshot").read_bytes())
    again = SnapshotStore(folder, KEY.public_key(), any_age=True)
    again.load()
    assert again.plan is None
    assert again.status == status_of(2)
    assert again.rejected == {"disk": 2}
    assert "holds a status snapshot" in again.last_rejection
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    assert again.accept(seal(plan_of(DOCUMENT), other)) is None
    assert "feed" in again.last_rejection


def test_what_requires_the_unknown_leaves_the_old_in_force(tmp_path: Path) -> None:
    """A newer control plane's plan that this edge cannot read rightly is refused by name."""
    store = SnapshotStore(tmp_path / "snapshots", KEY.public_key(), any_age=True)
    plan = plan_of(DOCUMENT, number=5)
    store.accept(seal(plan, KEY))
    assert store.accept(seal(plan_of(DOCUMENT, number=6), KEY, ("tides",))) is None
    assert store.plan == plan
    assert "requires tides" in store.last_rejection
    again = SnapshotStore(tmp_path / "snapshots", KEY.public_key(), any_age=True)
    again.load()
    assert (again.plan, again.rejected) == (plan, {})


def delta(old: Status, new: Status) -> bytes:
    """As a stream is read, without its line end."""
    return seal(delta_between(old, new), KEY).rstrip(b"\n")


def test_the_store_starts_from_deltas_as_well(tmp_path: Path) -> None:
    """The last whole status and the lines since, each verified again; a new whole one ends them."""
    store = SnapshotStore(tmp_path / "snapshots", KEY.public_key(), any_age=True)
    statuses = [status_of(1, a="up", b="up"), status_of(2, a="down", b="up"), status_of(5, a="up")]
    store.accept(seal(statuses[0], KEY))
    for old, new in pairwise(statuses):
        assert store.accept(delta(old, new))
        assert store.accept(delta(old, new)) is None, "told twice"
        assert store.status == new
    again = SnapshotStore(tmp_path / "snapshots", KEY.public_key(), any_age=True)
    again.load()
    assert (again.status, again.rejected) == (statuses[-1], {})
    assert again.numbers() == {"status": "5"}
    assert again.accept(seal(status_of(6, b="up"), KEY))
    assert not (tmp_path / "snapshots/status.deltas").exists()


def test_a_gap_in_the_deltas_asks_for_a_whole_status(tmp_path: Path) -> None:
    """What does not follow changes nothing; the feed is asked as if nothing were held."""
    store = SnapshotStore(tmp_path / "snapshots", KEY.public_key(), any_age=True)
    store.accept(seal(status_of(1, a="up"), KEY))
    with pytest.raises(FeedGapError, match="delta 3 follows status 2, not 1"):
        store.accept(delta(status_of(2, a="up"), status_of(3, a="down")))
    assert store.status == status_of(1, a="up")
    assert (store.numbers(), store.gaps) == ({}, 1)
    assert store.accept(seal(status_of(3, a="down"), KEY))
    assert store.numbers() == {"status": "3"}


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (lambda lines: [lines[0], lines[1].replace(b"false", b"true"), lines[2]], 2),
        (lambda lines: [lines[1], lines[0], lines[2]], 1),
        (lambda lines: [lines[0], lines[2]], 2),
        (lambda lines: [lines[0], lines[1][:-40]], 2),
        (lambda lines: [lines[0], seal(status_of(9, a="up"), KEY)], 2),
    ],
    ids=["tampered", "misordered", "missing", "torn", "another kind"],
)
def test_deltas_on_disk_are_refused_from_the_first_bad_one_on(
    tmp_path: Path, damage: Callable[[list[bytes]], list[bytes]], kept: int
) -> None:
    """Said so; the edge starts with what comes before, and asks for a whole status."""
    folder = tmp_path / "snapshots"
    store = SnapshotStore(folder, KEY.public_key(), any_age=True)
    statuses = [status_of(number, a=("up", "down")[number % 2]) for number in range(1, 5)]
    store.accept(seal(statuses[0], KEY))
    for old, new in pairwise(statuses):
        store.accept(delta(old, new))
    path = folder / "status.deltas"
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))
    again = SnapshotStore(folder, KEY.public_key(), any_age=True)
    again.load()
    assert again.status is not None
    assert again.status == statuses[kept - 1]
    assert again.rejected == {"disk": 1}
    assert "status.deltas" in again.last_rejection
    assert again.numbers() == {}


def test_a_whole_status_is_asked_for_when_the_deltas_are_too_many(tmp_path: Path) -> None:
    """What lies on disk is bounded; the one that comes may be the one that is held."""
    store = SnapshotStore(tmp_path / "snapshots", KEY.public_key(), any_age=True)
    store.accept(seal(status_of(0), KEY))
    for number in range(DELTAS_KEPT):
        store.accept(delta(status_of(number), status_of(number + 1)))
    size = (tmp_path / "snapshots/status.deltas").stat().st_size
    newest = status_of(DELTAS_KEPT + 1)
    with pytest.raises(FeedGapError, match="400 deltas"):
        store.accept(delta(status_of(DELTAS_KEPT), newest))
    assert store.status == newest
    assert (tmp_path / "snapshots/status.deltas").stat().st_size == size
    assert store.accept(seal(newest, KEY)) is None
    again = SnapshotStore(tmp_path / "snapshots", KEY.public_key(), any_age=True)
    again.load()
    assert (again.status, again.rejected) == (newest, {})


def test_deltas_that_cannot_be_kept_are_used_and_kept_later(tmp_path: Path) -> None:
    """A full disk: what lies there stays sound, if old, until there is room again."""
    store = SnapshotStore(tmp_path / "snapshots", KEY.public_key(), any_age=True)
    statuses = [status_of(number, a="up") for number in range(4)]
    store.accept(seal(statuses[0], KEY))
    path = tmp_path / "snapshots/status.deltas"
    path.mkdir()
    assert store.accept(delta(statuses[0], statuses[1]))
    assert "status" in store.disk_error
    path.rmdir()
    assert store.accept(delta(statuses[1], statuses[2]))
    assert store.status == statuses[2]
    again = SnapshotStore(tmp_path / "snapshots", KEY.public_key(), any_age=True)
    again.load()
    assert (again.status, again.rejected) == (statuses[0], {})
    store.save_pending()
    assert store.disk_error == ""
    assert store.accept(delta(statuses[2], statuses[3]))
    again.load()
    assert (again.status, again.rejected) == (statuses[3], {})


def test_a_store_on_a_full_disk_still_serves(tmp_path: Path) -> None:
    """When the copy cannot be written the snapshot is used all the same."""
    store = SnapshotStore(tmp_path / "snapshots", KEY.public_key(), any_age=True)
    (tmp_path / "snapshots" / "plan.snapshot").mkdir()
    plan = plan_of(DOCUMENT)
    assert store.accept(seal(plan, KEY)) == plan
    assert store.plan == plan


def test_a_snapshot_that_the_disk_did_not_take_is_kept_later(tmp_path: Path) -> None:
    """The newest one, when there is room again; until then the store says what is wrong."""
    store = SnapshotStore(tmp_path / "snapshots", KEY.public_key(), any_age=True)
    in_the_way = tmp_path / "snapshots" / "plan.snapshot"
    in_the_way.mkdir()
    for number in (1, 2):
        store.accept(seal(plan_of(DOCUMENT, number=number), KEY))
        assert str(in_the_way) in store.disk_error
    in_the_way.rmdir()
    store.save_pending()
    assert store.disk_error == ""
    again = SnapshotStore(tmp_path / "snapshots", KEY.public_key(), any_age=True)
    again.load()
    assert again.plan == plan_of(DOCUMENT, number=2)


def test_the_first_snapshots_of_a_feed_are_of_the_present(tmp_path: Path) -> None:
    """A year-old one is refused, also without a stamp or with another's; the disk's are not."""
    folder, year = tmp_path / "snapshots", timedelta(days=365)

    def store() -> SnapshotStore:
        return SnapshotStore(folder, KEY.public_key(), now=lambda: NOW)

    edge, line = store(), seal(plan_of(DOCUMENT), KEY)
    others = stamped(seal(status_of(1), KEY), KEY, NOW)
    borrowed = others[: others.index(b'"format"')] + line[1:]
    olds = [line, borrowed, stamped(line, KEY, NOW - year), stamped(line, KEY, NOW + year)]
    for old in olds:
        with pytest.raises(OldFeedError, match=r"plan: .*--accept-old-snapshots"):
            edge.accept(old)
    assert (edge.plan, edge.rejected) == (None, {"feed": len(olds)})
    assert edge.accept(stamped(line, KEY, NOW - VALID_FOR + timedelta(hours=1))) is not None
    again = SnapshotStore(folder, KEY.public_key(), now=lambda: NOW + year)
    again.load()
    assert again.plan == plan_of(DOCUMENT), "what is on the disk stays good"
    newer = plan_of(DOCUMENT, number=2)
    assert again.accept(stamped(seal(newer, KEY), KEY, NOW)) == newer
    careless = SnapshotStore(tmp_path / "other", KEY.public_key(), any_age=True)
    assert careless.accept(stamped(line, KEY, NOW - year)) is not None
