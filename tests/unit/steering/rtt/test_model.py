"""From samples to estimates: what groups inherit, what is doubted, what proves a place wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firsthop_steering.arrays import Floats, Ints, Keys
from firsthop_steering.rtt.estimates import Terrain
from firsthop_steering.rtt.geography import PRIOR_BASE_MS, PRIOR_MS_PER_KM
from firsthop_steering.rtt.learned import Learned
from firsthop_steering.rtt.model import RttModel
from firsthop_steering.rtt.prior import LIGHT_MS_PER_KM, MAX_MS_PER_KM, fit_prior
from firsthop_steering.rtt.samples import Samples

CELLS, REGIONS = 6, 3
DISTANCES = np.array(
    [
        [100.0, 900.0, 6000.0],
        [400.0, 600.0, 6200.0],
        [900.0, 150.0, 6500.0],
        [6000.0, 6300.0, 200.0],
        [6400.0, 6600.0, 700.0],
        [2760.0, 2910.0, 3920.0],
    ]
)
TERRAIN = Terrain(DISTANCES, np.array([0, 0, 0, 1, 1, 2]))
PRIOR = PRIOR_BASE_MS + PRIOR_MS_PER_KM * DISTANCES


def locate(prefixes: Keys) -> tuple[Ints, Ints]:
    """Prefix p is in cell p mod 5, and of AS p mod 10."""
    number = prefixes.astype(np.int64)
    return number % 5, number % 10


def measured(model: RttModel, prefix: int, region: int, rtt: Floats, source: int = 1) -> None:
    """So many samples from one source, in batches of one."""
    for value in rtt:
        model.observe(
            Samples(
                np.array([prefix], dtype=np.uint64), np.array([region]), np.array([source]),
                np.array([value]),
            ),
            now=0,
        )  # fmt: skip


def learn(model: RttModel) -> Learned:
    """As of the start."""
    return model.learn(TERRAIN, locate, now=0)


def row(learned: Learned, prefix: int) -> tuple[Floats, Floats]:
    """Estimates and deviations of one prefix."""
    place = int(np.flatnonzero(learned.prefixes == prefix)[0])
    found = learned.of_prefixes(slice(place, place + 1))
    return found.rtt_ms[0], found.deviation_ms[0]


def test_without_samples_it_is_the_geographic_prior() -> None:
    """So an edge that knows nothing orders regions by distance, to the millisecond as before."""
    found = learn(RttModel()).of_groups(np.arange(CELLS), np.zeros(CELLS, dtype=np.int64))
    np.testing.assert_allclose(found.rtt_ms, PRIOR)
    assert (found.source == 0).all()
    assert (found.deviation_ms > 0).all()


@given(st.floats(0.3, 3.0), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_an_estimate_lies_between_what_is_inherited_and_what_is_measured(
    factor: float, count: int
) -> None:
    """Shrinkage: nearer to the samples, the more there are, and never beyond them."""
    model = RttModel()
    value = PRIOR[0, 0] * factor
    measured(model, 0, 0, np.full(count, value))
    rtt, deviation = row(learn(model), 0)
    low, high = sorted((value, PRIOR[0, 0]))
    assert low - 2.5 <= rtt[0] <= high + 2.5
    if count >= 20:
        assert rtt[0] == pytest.approx(value, rel=0.1, abs=1)
    assert deviation[0] < deviation[1]


def test_a_group_inherits_what_its_country_has_in_common() -> None:
    """Prefixes of other cells of the country say that paths to region 1 are slow."""
    model = RttModel()
    for prefix in (1, 2, 6, 7, 11, 12):
        for region, slow in ((0, 1.0), (1, 2.5)):
            cell = prefix % 5
            measured(model, prefix, region, np.full(10, PRIOR[cell, region] * slow))
    found = learn(model).of_groups(np.array([0]), np.array([77]))
    fresh = PRIOR[0]
    assert found.rtt_ms[0, 1] > fresh[1] * 1.3
    assert found.rtt_ms[0, 0] == pytest.approx(fresh[0], rel=0.3)
    assert found.source[0, 1] == 1


def test_a_sample_faster_than_light_proves_the_place_wrong() -> None:
    """The prefix is said to be 6,000 km from region 2, and is 8 ms from it: it is estimated as
    what is near region 2, and its cell learns nothing from it."""
    model = RttModel()
    for prefix in (3, 8, 13, 4, 9):
        for region in range(REGIONS):
            measured(model, prefix, region, np.full(10, PRIOR[prefix % 5, region]))
    measured(model, 5, 2, np.full(10, 8.0))
    learned = learn(model)
    assert learned.prefixes[learned.lost].tolist() == [5]
    rtt, _ = row(learned, 5)
    assert rtt[2] == pytest.approx(8.0, abs=1.5)
    assert rtt[0] > 60
    assert rtt[1] > 60
    neighbours = learned.of_groups(np.array([0]), np.array([5]))
    assert neighbours.rtt_ms[0, 2] > LIGHT_MS_PER_KM * 5800


def test_values_that_are_no_round_trip_are_counted_and_left_out() -> None:
    """Microseconds taken for milliseconds, or a clock that ran backwards."""
    model = RttModel()
    measured(model, 0, 0, np.array([0.0, -3.0, 60_000.0]))
    assert model.counts["out_of_range"] == 3
    assert len(model.ledger) == 0


def test_reading_in_chunks_gives_the_same() -> None:
    """A million prefixes are read so."""
    model = RttModel()
    draw = np.random.default_rng(2)
    prefixes = draw.integers(0, 40, 400).astype(np.uint64)
    regions = draw.integers(0, REGIONS, 400)
    rtt = PRIOR[prefixes.astype(int) % 5, regions] * draw.uniform(0.8, 2.0, 400)
    model.observe(Samples(prefixes, regions, draw.integers(0, 9, 400), rtt), now=0)
    learned = learn(model)
    whole = learned.of_prefixes(slice(None))
    pieces = [learned.of_prefixes(slice(start, start + 7)) for start in range(0, 40, 7)]
    np.testing.assert_allclose(whole.rtt_ms, np.concatenate([each.rtt_ms for each in pieces]))
    np.testing.assert_allclose(
        whole.deviation_ms, np.concatenate([each.deviation_ms for each in pieces])
    )
    assert np.isfinite(whole.rtt_ms).all()
    assert (whole.deviation_ms > 0).all()


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_the_prior_is_fitted_in_spite_of_outliers(seed: int) -> None:
    """0.02 ms per km, and bases of 2 to 12 ms; every fifth path is three times as long."""
    draw = np.random.default_rng(seed)
    count = 2000
    distances, regions = draw.uniform(0, 12_000, count), draw.integers(0, 4, count)
    bases = np.array([2.0, 5.0, 8.0, 12.0])
    rtt = bases[regions] + 0.02 * distances + draw.normal(0, 2, count)
    rtt[::5] *= 3
    prior = fit_prior(distances, regions, rtt, count=4)
    assert prior.ms_per_km == pytest.approx(0.02, rel=0.12)
    np.testing.assert_allclose(prior.base_ms, bases, atol=4)


def test_the_slope_stays_physical() -> None:
    """Even if all samples say that distance costs nothing, or a thousand times as much."""
    distances, regions = np.linspace(0, 10_000, 500), np.zeros(500, dtype=np.int64)
    fast = fit_prior(distances, regions, np.full(500, 5.0), count=1)
    slow = fit_prior(distances, regions, distances * 0.4, count=1)
    assert fast.ms_per_km == LIGHT_MS_PER_KM
    assert slow.ms_per_km <= MAX_MS_PER_KM
