"""What an agent tells of round trips: in batches that count once, and nothing for ever."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from firsthop_healthchecks.agent.samples import AgentSampleReporter
from firsthop_net.api_session import CallRefused, ControlPlaneCallError
from firsthop_steering.feed.measurements import MAX_SAMPLES, SampleBatch
from firsthop_steering.feed.sample_queue import SampleRow, SampleUploadQueue

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class SamplingAgent:
    """An agent, and a control plane that answers as it is told."""

    def __init__(self) -> None:
        self.says: ControlPlaneCallError | None = None
        self.sent: list[SampleBatch] = []
        self.board = SampleUploadQueue()
        self.reporter = AgentSampleReporter(self, self.board, wall=lambda: NOW)

    def measured(self, many: int) -> None:
        row = SampleRow("192.0.2.0/24", "fra-1", 12.5, NOW.timestamp())
        self.board.note([row] * many)

    async def send_samples(self, batch: SampleBatch) -> None:
        self.sent.append(batch)
        if self.says is not None:
            raise self.says


async def test_all_is_told_once() -> None:
    world = SamplingAgent()
    await world.reporter.send()
    world.measured(MAX_SAMPLES + 5)
    await world.reporter.send()
    await world.reporter.send()
    assert [len(each.samples) for each in world.sent] == [MAX_SAMPLES, 5]
    assert len({each.batch for each in world.sent}) == 2


async def test_a_batch_that_may_have_arrived_is_told_under_its_name() -> None:
    """An answer that was lost: the control plane knows the name, and counts nothing twice."""
    world = SamplingAgent()
    world.says = ControlPlaneCallError("away")
    world.measured(3)
    with pytest.raises(ControlPlaneCallError):
        await world.reporter.send()
    world.measured(4)
    world.says = None
    await world.reporter.send()
    lost, again, rest = world.sent
    assert lost == again
    assert len(rest.samples) == 4


async def test_what_is_refused_is_not_told_for_ever() -> None:
    """And does not stop what comes behind it."""
    world = SamplingAgent()
    world.says = CallRefused("status 422: there is no relay fra-1")
    world.measured(MAX_SAMPLES + 1)
    await world.reporter.send()
    assert (world.board.results["refused"], world.board.waiting) == (MAX_SAMPLES + 1, 0)
