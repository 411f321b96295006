"""A representative speaks where no client does, and never louder than clients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_steering.arrays import Floats, Ints, Keys
from firsthop_steering.rtt.estimates import Terrain
from firsthop_steering.rtt.ledger import Entries, LedgerRows
from firsthop_steering.rtt.model import RttModel
from firsthop_steering.rtt.representatives import MOST_REPRESENTATIVE, folded, represented
from firsthop_steering.rtt.samples import Samples, prefix_of

TERRAIN = Terrain(np.array([[500.0, 800.0]]), np.array([0]))
DAY_S, EVERY_S = 86_400, 300
PREFIX = prefix_of(4, 0x08080808)


def locate(prefixes: Keys) -> tuple[Ints, Ints]:
    nowhere = np.zeros(len(prefixes), dtype=np.int64)
    return nowhere, nowhere


def sample(model: RttModel, prefix: int, rtt_ms: float, now: int, source: int = 1) -> None:
    model.observe(
        Samples(
            np.array([prefix], dtype=np.uint64), np.array([0]), np.array([source]),
            np.array([rtt_ms]),
        ),
        now=now,
    )  # fmt: skip


def told(model: RttModel, now: int) -> tuple[Floats, float]:
    """The estimates of the prefix, and by how many samples of region 0."""
    learned = model.learn(TERRAIN, locate, now=now)
    assert learned.prefixes.tolist() == [PREFIX]
    count = float(learned.entries.count[learned.entries.regions == 0][0])
    return learned.of_prefixes(slice(0, 1)).rtt_ms[0], count


def test_alone_it_says_what_the_prefix_may_expect() -> None:
    """From the first check on; and it follows a path that changes within hours."""
    model = RttModel()
    sample(model, represented(PREFIX), 40.0, 0)
    assert told(model, 0)[1] == 1
    for now in range(EVERY_S, DAY_S, EVERY_S):
        sample(model, represented(PREFIX), 40.0, now)
    rtt, count = told(model, DAY_S)
    assert rtt[0] == pytest.approx(40.0, abs=2)
    assert count == MOST_REPRESENTATIVE
    for now in range(DAY_S, 2 * DAY_S, EVERY_S):
        sample(model, represented(PREFIX), 60.0, now)
    assert told(model, 2 * DAY_S)[0][0] == pytest.approx(60.0, abs=3)


@pytest.mark.parametrize("relays", [1, 3])
def test_a_day_of_checks_does_not_outweigh_five_clients(relays: int) -> None:
    """However often it is measured, and from however many relays of the region."""
    model = RttModel()
    for now in range(0, DAY_S, EVERY_S):
        for relay in range(relays):
            sample(model, represented(PREFIX), 90.0, now, source=10 + relay)
    for _ in range(5):
        sample(model, PREFIX, 30.0, DAY_S)
    rtt, count = told(model, DAY_S)
    assert count == pytest.approx(5 + MOST_REPRESENTATIVE)
    assert rtt[0] < (30.0 + 90.0) / 2
    for _ in range(27):
        sample(model, PREFIX, 30.0, DAY_S)
    assert told(model, DAY_S)[0][0] < 30.0 + 0.15 * (90.0 - 30.0)


def test_it_is_saved_and_read_as_it_was() -> None:
    """The next leader keeps both apart as well."""
    model = RttModel()
    sample(model, represented(PREFIX), 90.0, 0)
    sample(model, PREFIX, 30.0, 0)
    rows: LedgerRows = model.ledger.rows()
    assert len(rows) == 2
    again = RttModel()
    again.ledger.put(rows)
    np.testing.assert_array_equal(told(again, 0)[0], told(model, 0)[0])


@given(
    st.dictionaries(
        st.tuples(st.integers(0, (1 << 49) - 1), st.integers(0, 1023), st.booleans()),
        st.tuples(st.floats(0.1, 32), st.floats(1, 300), st.floats(0.5, 30)),
        max_size=20,
    )
)
def test_folding_equals_a_weighted_mean(
    held: dict[tuple[int, int, bool], tuple[float, float, float]],
) -> None:
    """Of what each prefix and region has of both kinds; without representatives it is nothing."""
    keys = sorted(held, key=lambda each: (each[2], each[0], each[1]))
    columns = [np.array([held[key][n] for key in keys]) for n in range(3)]
    entries = Entries(
        np.array([represented(p) if s else p for p, _, s in keys], dtype=np.uint64),
        np.array([region for _, region, _ in keys], dtype=np.int64),
        *columns,
    )
    found = folded(entries)
    places = sorted({(prefix, region) for prefix, region, _ in keys})
    assert list(zip(found.prefixes.tolist(), found.regions.tolist(), strict=True)) == places
    for place, (prefix, region) in enumerate(places):
        client = held.get((prefix, region, False), (0.0, 0.0, 0.0))
        stands = held.get((prefix, region, True), (0.0, 0.0, 0.0))
        share = min(stands[0], MOST_REPRESENTATIVE)
        total = client[0] + share
        assert found.count[place] == pytest.approx(total)
        mean = (client[0] * client[1] + share * stands[1]) / total
        assert found.mean_ms[place] == pytest.approx(mean)
        noise = (client[0] * client[2] ** 2 + share * stands[2] ** 2) / total
        assert found.noise_ms[place] == pytest.approx(noise**0.5)
