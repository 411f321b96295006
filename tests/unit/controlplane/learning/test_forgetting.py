"""Which reports are forgotten by which selector, and that they are gone for the next leader."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from firsthop_controlplane.learning.forgetting import ReportSelector
from firsthop_controlplane.learning.intake import BATCHES_KEPT_S
from firsthop_controlplane.learning.memory import Memory
from firsthop_steering.rtt.samples import Samples, parse_prefix
from firsthop_steering.rtt.sources import source_number

START = 1_800_000_000
REPORTS = [
    ("192.0.2.0/24", source_number("browser", "edge-1", 3), START),
    ("192.0.3.0/24", source_number("browser", "edge-2", 3), START),
    ("198.51.100.0/24", source_number("agent", "thief"), START),
    ("198.51.100.0/24", source_number("allocator", "thief"), START + 60),
    ("2001:db8:1::/48", source_number("agent", "fra-1"), START + 60),
    ("2001:db8:2::/48", source_number("browser", "edge-1", 5), START + 60),
]


def learned() -> Memory:
    """A memory that has all of REPORTS, and has saved them."""
    memory = Memory()
    for number, (prefix, source, at) in enumerate(REPORTS):
        row = Samples(
            np.array([parse_prefix(prefix)], dtype=np.uint64), np.zeros(1, dtype=np.int64),
            np.array([source]), np.array([9.0]),
        )  # fmt: skip
        memory.intake.take(f"batch{number}", row, at)
        memory.observe(memory.intake.drain(at), now=at, kept_s=BATCHES_KEPT_S)
    memory.saved([len(REPORTS)], anew=False)
    return memory


def since(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()


@pytest.mark.parametrize(
    ("given", "gone"),
    [
        ({"token": "thief"}, {2, 3}),
        ({"token": "edge-1"}, {0, 5}),
        ({"token": "nobody"}, set()),
        ({"source": "browser"}, {0, 1, 5}),
        ({"source": "agent", "token": "thief"}, {2}),
        ({"prefix": "192.0.2.0/23"}, {0, 1}),
        ({"prefix": "198.51.100.0/24"}, {2, 3}),
        ({"prefix": "2001:db8:2::/48"}, {5}),
        ({"prefix": "::/0"}, {4, 5}),
        ({"prefix": "0.0.0.0/0", "since": since(START + 1)}, {3}),
        ({"since": since(START + 60)}, {3, 4, 5}),
    ],
)
def test_what_has_all_given_properties_is_forgotten(given: Any, gone: set[int]) -> None:
    """And nothing else; the next leader, who reads all parts, does not know it either."""
    memory, selector = learned(), ReportSelector.model_validate(given)
    stays = sorted(
        (parse_prefix(prefix), source)
        for number, (prefix, source, _) in enumerate(REPORTS)
        if number not in gone
    )
    assert memory.forget(selector.mask(memory.model.ledger.rows())) == len(gone)
    assert memory.is_changed == memory.is_long() == bool(gone)
    heir = Memory()
    heir.restore(content for content, _ in memory.whole())
    for each in (memory, heir):
        rows = each.model.ledger.rows()
        assert sorted(zip(rows.prefixes.tolist(), rows.sources.tolist(), strict=True)) == stays


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"token": None},
        {"source": "nobody"},
        {"prefix": "192.0.2.0/25"},
        {"prefix": "2001:db8::/49"},
        {"prefix": "192.0.2.1/24"},
        {"prefix": "here"},
        {"since": "2026-01-01T00:00:00"},
    ],
)
def test_a_selector_names_something(given: Any) -> None:
    """Not everything by mistake."""
    with pytest.raises(ValidationError):
        ReportSelector.model_validate(given)
