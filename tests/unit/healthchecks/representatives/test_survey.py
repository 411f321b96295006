"""What comes of a check of a representative, and who is left out."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address

import pytest

from firsthop_healthchecks.probes import Failed, Passed, ProbeOutcome, Unable
from firsthop_healthchecks.representatives.listing import Representative
from firsthop_healthchecks.representatives.survey import TRIES, Survey, measurable
from firsthop_steering.feed.reports import ProbeTarget
from firsthop_steering.feed.sample_queue import SampleUploadQueue

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RESOLVER = Representative(ip_address("9.9.9.9"), 53)
PINGED = Representative(ip_address("8.8.8.8"))
PINGED_6 = Representative(ip_address("2620:fe::fe"))


class Answers:
    """A probe with so many answers in store."""

    def __init__(self, *outcomes: ProbeOutcome | Exception) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[ProbeTarget] = []

    async def check(self, target: ProbeTarget) -> ProbeOutcome:
        self.asked.append(target)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def close(self) -> None: ...


def survey(answers: Answers) -> tuple[Survey, SampleUploadQueue]:
    board = SampleUploadQueue()
    probes = {"tcp": answers, "icmp": answers}
    return Survey("fra-1", (), probes=probes, board=board, wall=lambda: NOW), board


async def test_the_fastest_of_three_tries_counts() -> None:
    """As one sample of the prefix, by the relay, marked as a representative's."""
    answers = Answers(Passed(31.0), Failed("no answer in 1 s"), Passed(18.5))
    of, board = survey(answers)
    assert await of.check(RESOLVER) == "answered"
    assert [(each.kind, each.port) for each in answers.asked] == [("tcp", 53)] * TRIES
    batch = board.due(NOW, "batch-0001")
    assert batch is not None
    (sample,) = batch.samples
    assert (str(sample.client), sample.relay, sample.rtt_ms, sample.at) == (
        "9.9.9.0", "fra-1", 18.5, NOW,
    )  # fmt: skip
    assert sample.representative


@pytest.mark.parametrize(
    ("outcomes", "result"),
    [
        ([Failed("no answer in 1 s")] * 3, "silent"),
        ([Unable("Network is unreachable")], "unable"),
        ([RuntimeError("a fault of ours")], "unable"),
    ],
)
async def test_without_an_answer_there_is_no_sample(
    outcomes: list[ProbeOutcome | Exception], result: str
) -> None:
    """Silence is the representative's, all else is ours."""
    answers = Answers(*outcomes)
    of, board = survey(answers)
    assert await of.check(PINGED) == result
    assert (board.waiting, answers.outcomes) == (0, [])


def test_where_no_echo_requests_are_allowed_the_others_are_measured() -> None:
    everybody = (RESOLVER, PINGED, PINGED_6)
    assert measurable(everybody, lambda version: None) == everybody
    assert measurable(everybody, lambda version: "no") == (RESOLVER,)
    no_six = {4: None, 6: "Address family not supported by protocol"}
    assert measurable(everybody, no_six.get) == (RESOLVER, PINGED)
