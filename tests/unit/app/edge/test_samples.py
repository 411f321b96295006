"""What browsers measured, told by an edge: nothing twice, and nothing for ever."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import cast

import pytest

from firsthop.edge.reporting.posting import Posted, Poster
from firsthop.edge.reporting.samples import EdgeSampleReporter
from firsthop_steering.feed.measurements import MAX_SAMPLES, SampleBatch
from firsthop_steering.feed.sample_queue import SampleRow, SampleUploadQueue

NOW = datetime(2026, 11, 24, tzinfo=UTC)
AWAY, WRONG, TAKEN = Posted("no answer"), Posted("answers 422", refused=True), Posted("")


class SampleTaker:
    """Answers as it is told, and keeps what it was sent."""

    def __init__(self) -> None:
        self.says = TAKEN
        self.sent: list[SampleBatch] = []

    async def post(self, path: str, body: str) -> Posted:
        assert path == "/v1/measurements"
        self.sent.append(SampleBatch.model_validate_json(body))
        return self.says


def rows(many: int, at: datetime = NOW) -> list[SampleRow]:
    return [
        SampleRow("192.0.2.0/24", "fra-1", 1.0 + n, at.timestamp())
        for n, _ in zip(count(), range(many))
    ]


@pytest.fixture
def told() -> tuple[SampleTaker, SampleUploadQueue, EdgeSampleReporter]:
    control_plane, board = SampleTaker(), SampleUploadQueue()
    reporter = EdgeSampleReporter(cast(Poster, control_plane), board, now=lambda: NOW)
    return control_plane, board, reporter


async def test_all_is_told_once_in_batches_that_are_taken_whole(told: tuple) -> None:
    control_plane, board, reporter = told
    await reporter.upload()
    assert control_plane.sent == []
    board.note(rows(2 * MAX_SAMPLES + 5))
    await reporter.upload()
    await reporter.upload()
    assert [len(each.samples) for each in control_plane.sent] == [MAX_SAMPLES, MAX_SAMPLES, 5]
    assert len({each.batch for each in control_plane.sent}) == 3
    first = control_plane.sent[0].samples[0]
    assert (str(first.client), first.relay, first.rtt_ms, first.at) == (
        "192.0.2.0", "fra-1", 1.0, NOW,
    )  # fmt: skip
    assert (board.results["told"], board.waiting) == (2 * MAX_SAMPLES + 5, 0)


async def test_a_batch_that_may_have_arrived_is_told_under_its_name(told: tuple) -> None:
    """An answer that was lost: the control plane knows the name, and counts nothing twice."""
    control_plane, board, reporter = told
    control_plane.says = AWAY
    board.note(rows(3))
    await reporter.upload()
    board.note(rows(4))
    assert board.waiting == 7
    control_plane.says = TAKEN
    await reporter.upload()
    lost, again, rest = control_plane.sent
    assert lost == again
    assert len(rest.samples) == 4
    assert (board.results["told"], board.waiting) == (7, 0)


async def test_what_is_wrong_is_not_told_for_ever(told: tuple) -> None:
    """One batch of a relay that is gone does not stop the next."""
    control_plane, board, reporter = told
    board.note(rows(MAX_SAMPLES + 1))
    control_plane.says = WRONG
    await reporter.upload()
    assert (board.results["refused"], board.waiting) == (MAX_SAMPLES + 1, 0)
