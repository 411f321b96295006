"""Samples that wait: nothing twice, nothing too old, nothing unbounded, and all of it counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from firsthop_steering.feed.measurements import MAX_SAMPLES
from firsthop_steering.feed.sample_queue import MAX_WAITING, OLDEST_S, SampleRow, SampleUploadQueue

NOW = datetime(2026, 11, 24, tzinfo=UTC)
NAME = "batch-0001"


def rows(many: int, age_s: float = 0.0) -> list[SampleRow]:
    at = NOW.timestamp() - age_s
    return [SampleRow("192.0.2.0/24", "fra-1", 1.0 + n, at) for n in range(many)]


def test_a_batch_is_given_until_somebody_says_what_became_of_it() -> None:
    """Under the name that it had first; what came meanwhile is in the next."""
    board = SampleUploadQueue()
    assert board.due(NOW, NAME) is None
    board.note(rows(2))
    first = board.due(NOW, NAME)
    board.note([SampleRow("2001:db8:1::/48", "fra-1", 9.5, NOW.timestamp())])
    assert board.due(NOW, "batch-0002") == first
    assert board.waiting == 3
    board.ended("told")
    second = board.due(NOW, "batch-0002")
    assert second is not None
    (sample,) = second.samples
    assert (second.batch, str(sample.client), sample.relay) == (
        "batch-0002", "2001:db8:1::", "fra-1",
    )  # fmt: skip
    assert (sample.rtt_ms, sample.at) == (9.5, NOW)
    board.ended("refused")
    assert board.results == {"told": 2, "refused": 1, "old": 0, "overflowed": 0}


def test_what_is_too_old_is_left_out() -> None:
    """The control plane would refuse a whole batch for it."""
    board = SampleUploadQueue()
    board.note(rows(2, OLDEST_S - 1))
    assert board.due(NOW, NAME) is not None
    later = NOW + timedelta(seconds=2)
    board.note(rows(3, OLDEST_S - 1))
    board.note(rows(4))
    batch = board.due(later, NAME)
    assert batch is not None
    assert len(batch.samples) == 4
    assert (board.results["old"], board.waiting) == (5, 4)


def test_old_ones_behind_young_ones_are_left_out_as_well() -> None:
    """What several measure is not in order."""
    board = SampleUploadQueue()
    board.note(rows(1))
    board.note(rows(3, OLDEST_S - 1))
    assert board.due(NOW, NAME) is not None
    board.note(rows(2))
    later = board.due(NOW + timedelta(seconds=2), NAME)
    assert later is not None
    assert len(later.samples) == 2
    assert board.results["old"] == 4


def test_the_oldest_make_room() -> None:
    """However long the control plane is away; every sample is counted somewhere."""
    board = SampleUploadQueue()
    board.note(rows(MAX_WAITING + 10))
    assert (board.waiting, board.results["overflowed"]) == (MAX_WAITING, 10)
    batch = board.due(NOW, NAME)
    assert batch is not None
    assert len(batch.samples) == MAX_SAMPLES
    assert batch.samples[0].rtt_ms == 11.0
