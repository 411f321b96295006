"""Samples: who may bring how many, what is saved of them, and what a next leader makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_controlplane.learning.intake import (
    BATCHES_KEPT_S,
    BURST,
    SAMPLES_PER_S,
    Intake,
    batch_name,
)
from firsthop_controlplane.learning.memory import Memory
from firsthop_controlplane.learning.numbers import RegionNumbers
from firsthop_controlplane.learning.parts import Part, pack, unpack
from firsthop_steering.rtt.ledger import Ledger
from firsthop_steering.rtt.samples import MAX_REGIONS, REGION_BITS, Samples
from firsthop_steering.rtt.sources import source_number
from support.old_ledger import part_of_means

START = 1_800_000_000


def samples(*rows: tuple[int, int, float], source: int = 1) -> Samples:
    """Rows of prefix, region, ms."""
    return Samples(
        np.array([row[0] for row in rows], dtype=np.uint64),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.full(len(rows), source, dtype=np.int64),
        np.array([row[2] for row in rows], dtype=np.float64),
    )


def observe(memory: Memory, name: str, brought: Samples, now: int) -> None:
    memory.intake.take(name, brought, now)
    memory.observe(memory.intake.drain(now), now=now, kept_s=BATCHES_KEPT_S)


def known(memory: Memory) -> list[tuple[int, int, float]]:
    """Key, source and ms of each report."""
    rows = memory.model.ledger.rows()
    return list(zip(rows.keys.tolist(), rows.sources.tolist(), rows.rtt_ms.tolist(), strict=True))


def test_a_source_brings_a_burst_and_then_its_rate() -> None:
    """And is told how long to wait; another source is not held up by it."""
    intake = Intake()
    assert intake.wait_s("a", BURST, 0.0) == 0
    assert intake.wait_s("a", 2 * SAMPLES_PER_S, 0.0) == 2
    assert intake.wait_s("b", BURST, 0.0) == 0
    assert intake.wait_s("a", 2 * SAMPLES_PER_S, 2.0) == 0
    assert intake.wait_s("a", 1, 2.0) > 0
    assert intake.wait_s("a", 1, 1.0) > 0, "a clock that goes back gives nothing"


def test_a_batch_has_its_name_from_its_sender() -> None:
    """Two senders may choose the same one."""
    assert batch_name("a", "batch-01") != batch_name("b", "batch-01")
    intake = Intake()
    intake.take(batch_name("a", "batch-01"), samples((1, 0, 5.0)), 0)
    assert intake.is_repeated(batch_name("a", "batch-01"))
    assert not intake.is_repeated(batch_name("b", "batch-01"))
    intake.drain(BATCHES_KEPT_S + 1)
    assert not intake.is_repeated(batch_name("a", "batch-01")), "its samples are too old by then"


def test_a_region_keeps_its_number() -> None:
    """When all are taken the one of a region that is gone is used again, and so forgotten."""
    numbers = RegionNumbers([f"r{place}" for place in range(MAX_REGIONS - 1)])
    present = {*numbers.names, "new"}
    assert numbers.number("r3", present) == 3
    assert numbers.number("new", present) == MAX_REGIONS - 1
    assert numbers.number("more", present | {"more"}) is None
    assert numbers.number("more", (present | {"more"}) - {"r7"}) == 7
    assert numbers.freed == [7]
    assert numbers.indices(["more", "r2"])[[7, 2, 0]].tolist() == [0, 1, -1]


def test_what_is_known_of_a_region_that_lost_its_number_is_forgotten() -> None:
    """The samples of its successor are not mixed with its own."""
    memory = Memory()
    observe(memory, "b1", samples((1, 7, 5.0), (1, 8, 6.0)), START)
    memory.numbers.freed.append(7)
    observe(memory, "b2", samples((1, 7, 90.0)), START)
    assert known(memory) == [(1 << REGION_BITS | 7, 1, 90.0), (1 << REGION_BITS | 8, 1, 6.0)]
    heir = Memory()
    heir.restore(content for content, _ in memory.whole())
    assert memory.is_long(), "older parts still have it, so all are written again"
    assert known(heir) == known(memory)


rows = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 3), st.floats(1, 300)), min_size=1, max_size=6
)


@given(st.lists(st.tuples(rows, st.booleans(), st.booleans()), min_size=1, max_size=8))
def test_the_parts_in_their_order_are_the_whole(
    rounds: list[tuple[list[tuple[int, int, float]], bool, bool]],
) -> None:
    """Whenever it is saved, as changes or whole: the next leader knows what this one knew then."""
    memory, store = Memory(), list[bytes]()
    memory.numbers = RegionNumbers(["a", "b", "c", "d"])
    for number, (brought, is_saved, anew) in enumerate(rounds):
        observe(memory, f"batch{number}", samples(*brought), START + number)
        if is_saved:
            parts = list(memory.whole()) if anew else [memory.changes()]
            store = [*([] if anew else store), *(content for content, _ in parts)]
            memory.saved([size for _, size in parts], anew=anew)
            heir = Memory()
            heir.restore(store)
            assert known(heir) == known(memory)
            assert (heir.parts, heir.logged) == (memory.parts, memory.logged)
            assert heir.numbers.names == memory.numbers.names
            assert all(heir.intake.is_repeated(f"batch{each}") for each in range(number + 1))


def test_a_batch_that_was_not_saved_may_be_brought_again() -> None:
    """Its samples are lost with the leader, and so is its name."""
    memory = Memory()
    observe(memory, "batch1", samples((1, 0, 5.0)), START)
    content, size = memory.changes()
    memory.saved([size], anew=False)
    observe(memory, "batch2", samples((2, 0, 5.0)), START + 1)
    heir = Memory()
    heir.restore([content])
    assert heir.intake.is_repeated("batch1")
    assert not heir.intake.is_repeated("batch2")


def test_a_clock_that_goes_back_makes_nothing_younger() -> None:
    """A restart after it saves what it takes in."""
    memory = Memory()
    observe(memory, "batch1", samples((1, 0, 5.0)), START)
    memory.saved([1], anew=False)
    observe(memory, "batch2", samples((2, 0, 5.0)), START - 3600)
    assert memory.changes()[1] == 1
    assert memory.model.ledger.rows().at.tolist() == [START, START + 1]


def test_outdated_parts_are_not_kept_for_ever() -> None:
    """Once they hold more than twice what is known, the whole is written."""
    memory = Memory()
    observe(memory, "batch1", samples((1, 0, 5.0)), START)
    assert not memory.is_long()
    memory.logged = 200_000
    assert memory.is_long()
    memory.saved([1], anew=True)
    assert not memory.is_long()
    memory.parts = 501
    assert memory.is_long()


def test_means_of_earlier_versions_are_read() -> None:
    """Each as several reports of an unknown source; a later one replaces an earlier one."""
    first, second = 1 << REGION_BITS, 2 << REGION_BITS | 1
    old = [
        part_of_means(
            "ab", (first, 1, 5.0, START), (second, 20, 7.0, START), batches={"batch1": 0}
        ),
        part_of_means("ab", (second, 3, 9.0, START + 5), batches={"batch2": 0}),
    ]
    heir = Memory()
    heir.restore(old)
    unknown = source_number("unknown", "")
    assert known(heir) == [
        (1 << REGION_BITS, unknown, 5.0),
        *[(2 << REGION_BITS | 1, unknown, 9.0)] * 3,
    ]
    assert heir.numbers.names == ("a", "b")
    assert heir.intake.is_repeated("batch1")
    observe(heir, "batch3", samples((1, 0, 6.0)), START + 9)
    third = Memory()
    third.restore([*old, heir.changes()[0]])
    assert known(third) == known(heir)


def test_old_rows_of_measured_hosts_are_dropped() -> None:
    """Earlier versions kept them with bit 49 of the prefix set; clients' rows beside them stay."""
    rows = [(1 << REGION_BITS, 1, 5.0, START), (1 << 49 + REGION_BITS, 1, 60.0, START)]
    heir = Memory()
    heir.restore([part_of_means("a", *rows, batches={"batch1": START})])
    assert [key for key, _, _ in known(heir)] == [1 << REGION_BITS]
    assert heir.intake.is_repeated("batch1"), "the batch was taken, though its rows are gone"


@pytest.mark.parametrize("content", [b"", b"nonsense", pack(Part(Ledger(1).rows(), (), {}))[:9]])
def test_a_damaged_part_is_refused(content: bytes) -> None:
    """Whatever is wrong with it, as a ValueError."""
    with pytest.raises(ValueError, match=r"no part|Error"):
        unpack(content)
