"""Contests by bucket over arrays say what a loop over sites and buckets says."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from firsthop_steering.compile.preferences import preference_orders
from firsthop_steering.compile.priced_choice import Field, chosen_by_bucket, needs_priced_choice
from firsthop_steering.decision.charges import MAX_LEVEL, charged_us, charges_us
from firsthop_steering.decision.rendezvous import BUCKETS, draws, kept_buckets

COLUMNS = 12


@given(st.integers(0, 2**32), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_the_lowest_that_keeps_a_bucket_takes_it(seed: int, count: int) -> None:
    """And where none keeps it the lowest of all; where nothing is contested, order is one."""
    rng = np.random.default_rng(seed)
    names = [f"r{number}" for number in range(count)]
    prices = [int(each) for each in rng.choice([0, 0, 1, 700, 2500, 9000], count)]
    weights = [int(each) for each in rng.choice([100, 100, 50, 3], count)]
    keys = rng.choice([0, 100, 2000, 5000, 8000], (count, COLUMNS)).astype(np.int64)
    keys += rng.choice([0, 0, 50, 1 << 40], (count, COLUMNS))
    field = Field(
        np.stack([charges_us(*each) for each in zip(names, prices, strict=True)]),
        np.stack([draws(name) for name in names]),
        np.stack([kept_buckets(*each) for each in zip(names, weights, strict=True)]),
        np.array(weights) == 100,
    )
    reliefs = np.array([price - charged_us(price, MAX_LEVEL) for price in prices])
    highest = keys + np.array(prices)[:, None]
    torn = needs_priced_choice(highest, reliefs, field.full)
    orders, which = preference_orders(highest, field.full)
    for column, chosen in enumerate(chosen_by_bucket(keys, field)):
        scores = keys[:, column, None] + field.charged_us
        for drawn in range(0, BUCKETS, 7):
            order = sorted(range(count), key=lambda i: (scores[i, drawn], field.draws[i, drawn]))
            takes = next((i for i in order if field.keeps[i, drawn]), order[0])
            assert chosen[drawn] == takes
            if not torn[column]:
                shared = [*orders[which[column]]]
                groups = [
                    next(g for g, group in enumerate(shared) if i in group)
                    for i in order[: sum(map(len, shared))]
                ]
                assert groups == sorted(groups)
