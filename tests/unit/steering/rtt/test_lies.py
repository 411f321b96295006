"""Reports that are not true: whom they move, and what is left when they are forgotten."""

from __future__ import annotations

import numpy as np
import pytest

from firsthop_steering.arrays import Floats, Ints, Keys
from firsthop_steering.rtt.estimates import Terrain
from firsthop_steering.rtt.exploration import lower_bounds_ms
from firsthop_steering.rtt.geography import (
    PRIOR_BASE_MS,
    PRIOR_MS_PER_KM,
    distances_km,
    unit_vectors,
)
from firsthop_steering.rtt.learned import Learned
from firsthop_steering.rtt.model import RttModel
from firsthop_steering.rtt.samples import Samples
from firsthop_steering.rtt.sources import SourceKind, source_number

# Frankfurt, London, New York, Singapore, Sydney; cells are cities next to them, and one unlocated.
REGIONS = np.array([[50.1, 8.7], [51.5, -0.1], [40.7, -74.0], [1.3, 103.8], [-33.9, 151.2]])
CELLS = np.array([[52.5, 13.4], [53.5, -2.2], [42.4, -71.1], [3.1, 101.7], [-37.8, 145.0]])
KM = distances_km(unit_vectors(*REGIONS.T), unit_vectors(*CELLS.T)).T
TERRAIN = Terrain(np.vstack([KM, KM.mean(axis=0)]), np.array([0, 1, 2, 3, 4, 5]))
TRUTH = 6.0 + 0.018 * KM
PRIOR = PRIOR_BASE_MS + PRIOR_MS_PER_KM * KM
FRA, NYC, SYD = 0, 2, 4
BERLIN = 0
HONEST = 40
"""Prefixes 0 to 39 have honest clients, prefix p in cell p mod 5; later ones have none."""


def locate(prefixes: Keys) -> tuple[Ints, Ints]:
    number = prefixes.astype(np.int64)
    return number % 5, number % 10


class Deployment:
    """A model that has learned from honest browsers, and what is reported besides."""

    def __init__(self) -> None:
        self.model, self.draw, self.now = RttModel(), np.random.default_rng(1), 0
        for _ in range(6):
            prefixes = np.repeat(np.arange(HONEST), 3)
            near = np.argsort(TRUTH[prefixes % 5], axis=1)[np.arange(len(prefixes)), [0, 1, 2] * 40]
            self.report(prefixes, near, self.true(prefixes, near), seats=True)
        self.before = self.learned()

    def true(self, prefixes: Ints, regions: Ints) -> Floats:
        return TRUTH[prefixes % 5, regions] + self.draw.exponential(2.0, len(prefixes))

    def report(
        self,
        prefixes: Ints | list[int],
        regions: Ints | int,
        rtt_ms: Floats | float,
        *,
        kind: SourceKind = "browser",
        token: str = "edge",
        seats: bool = False,
        seat: int = 0,
    ) -> None:
        """One batch; with `seats` each report is of another client."""
        where = np.asarray(prefixes)
        each = self.draw.integers(0, 8, len(where)) if seats else np.full(len(where), seat)
        sources = np.array([source_number(kind, token, place) for place in each.tolist()])
        self.now += 1
        self.model.observe(
            Samples(
                where.astype(np.uint64),
                np.broadcast_to(regions, len(where)).astype(np.int64),
                sources,
                np.broadcast_to(rtt_ms, len(where)).astype(np.float64),
            ),
            now=self.now,
        )

    def learned(self) -> Learned:
        return self.model.learn(TERRAIN, locate, now=self.now)

    def moved_ms(self, *, but: tuple[int, ...] = ()) -> float:
        """The largest change of an estimate that decides: of each prefix, of its best two regions.

        Also that of the places, which serve prefixes without reports.
        """
        now, most = self.learned(), 0.0
        for prefix in range(HONEST):
            if prefix not in but:
                change = np.abs(of(now, prefix) - of(self.before, prefix))
                most = max(most, float(change[np.argsort(of(self.before, prefix))[:2]].max()))
        places, nothing = np.arange(5), np.full(5, 99)
        change = np.abs(
            now.of_groups(places, nothing).rtt_ms - self.before.of_groups(places, nothing).rtt_ms
        )
        return max(most, float(change.max()))


def of(learned: Learned, prefix: int) -> Floats:
    """The estimates for one prefix."""
    place = int(np.flatnonzero(learned.prefixes == prefix)[0])
    return learned.of_prefixes(slice(place, place + 1)).rtt_ms[0]


@pytest.fixture
def world() -> Deployment:
    return Deployment()


def test_one_browser_does_not_move_its_network(world: Deployment) -> None:
    """It says for minutes that Sydney is half a millisecond away; others of its /24 are in Berlin.

    Their reports contradict it, by the speed of light, whether there are more of its or of theirs.
    """
    for _ in range(30):
        world.report([BERLIN], SYD, 0.5, seat=3)
        assert of(world.learned(), BERLIN).argmin() == FRA
    assert world.moved_ms() < 1.0


def test_one_for_one_the_network_stays(world: Deployment) -> None:
    """A liar a minute beside an honest client a minute, about the same relay."""
    for lie in (0.5, 900.0):
        for _ in range(30):
            world.report([BERLIN], FRA, world.true(np.array([BERLIN]), np.array([FRA])), seats=True)
            world.report([BERLIN], FRA, lie, seats=True)
        assert of(world.learned(), BERLIN).argmin() == FRA
    assert world.moved_ms(but=(BERLIN,)) < 1.0


def test_a_network_without_other_clients_moves_only_by_many(world: Deployment) -> None:
    """A few reports faster than light are lies; many that nothing contradicts are a wrong place."""
    world.report([HONEST + 5] * 3, SYD, 9.0)
    assert of(world.learned(), HONEST + 5).argmin() == FRA
    world.report([HONEST + 5] * 9, SYD, 9.0)
    assert of(world.learned(), HONEST + 5).argmin() == SYD
    assert world.moved_ms() < 1.0


def test_as_many_lies_do_not_hide_a_wrong_place(world: Deployment) -> None:
    """Clients in Sydney that the geo data places in Berlin, and as many reports of half a
    millisecond about both regions: no place is next to both, so the slower side is right."""
    for region, rtt_ms in ((SYD, 9.0), (FRA, 290.0)):
        for seat in range(8):
            world.report([HONEST] * 2, region, np.array([0.5, rtt_ms]), seat=seat)
    found = of(world.learned(), HONEST)
    assert found[FRA] > 200
    assert found.argmin() == SYD
    assert world.moved_ms() < 1.0


def test_a_surprisingly_slow_path_is_believed_half_until_others_agree(world: Deployment) -> None:
    """Nobody is sent there on the word of one client that it is fast, nor in spite of it."""
    expected = of(world.learned(), BERLIN)[SYD]
    world.report([BERLIN], SYD, expected + 400)
    found = world.learned()
    assert of(found, BERLIN)[SYD] == pytest.approx(expected + 200, abs=20)
    estimates = found.of_prefixes(slice(0, 1))
    assert lower_bounds_ms(estimates)[0, SYD] < expected + 30, "so clients go on to try it"
    assert world.moved_ms(but=(BERLIN,)) < 2.0, "through the prior, of forty prefixes"
    world.report([BERLIN] * 3, SYD, expected + 400, seats=True)
    assert of(world.learned(), BERLIN)[SYD] > expected + 350


@pytest.mark.parametrize("kind", ["agent", "allocator", "transceiver"])
def test_a_token_moves_nobody(world: Deployment, kind: SourceKind) -> None:
    """3,840 reports of one token about one relay, for clients of all kinds and for others.

    Neither those whom it forged nor, through the prior, anybody else; also if no honest client has
    ever reported anything.
    """
    everyone = np.tile(np.arange(HONEST, 2 * HONEST), 96)
    alone = RttModel()
    for rtt_ms in (0.5, 20.0, 2000.0):
        world.report(everyone, SYD, rtt_ms, kind=kind, token="thief")
        assert world.moved_ms() < 1.0
        assert of(world.learned(), HONEST).argmin() == FRA
        batch = Samples(
            everyone.astype(np.uint64), np.full(3840, SYD),
            np.full(3840, source_number(kind, "thief")), np.full(3840, rtt_ms),
        )  # fmt: skip
        alone.observe(batch, now=0)
        found = alone.learn(TERRAIN, locate, now=0)
        np.testing.assert_allclose(found.of_groups(np.arange(5), np.full(5, 99)).rtt_ms, PRIOR)
        np.testing.assert_allclose(of(found, HONEST), PRIOR[0])


def test_a_token_that_agrees_with_browsers_counts(world: Deployment) -> None:
    """An agent whose round trips were confirmed is then believed, a little, where it is alone."""
    known = np.flatnonzero(np.arange(HONEST) % 5 == BERLIN)
    for _ in range(3):
        world.report(known, FRA, world.true(known, np.full(len(known), FRA)), kind="agent")
    before = of(world.learned(), known[0])[FRA]
    stranger = HONEST + 3  # of the cell near Singapore
    world.report([stranger] * 5, FRA, TRUTH[3, FRA] + 40, kind="agent")
    assert of(world.learned(), int(known[0]))[FRA] == pytest.approx(before, abs=0.5)
    usual = world.before.of_groups(np.array([3]), np.array([3])).rtt_ms[0, FRA]
    assert usual < of(world.learned(), stranger)[FRA] < TRUTH[3, FRA] + 40


def test_a_tenth_of_the_sources_lies_about_one_relay(world: Deployment) -> None:
    """Their reports about it are contradicted, so they no longer count where they are alone."""
    for number in range(12):
        prefixes = np.arange(HONEST)
        world.report(
            prefixes, NYC, world.true(prefixes, np.full(HONEST, NYC)), token=f"honest-{number % 9}"
        )
        world.report(prefixes, NYC, 0.5, token="liar")
    world.report(np.arange(HONEST, HONEST + 20), NYC, 0.5, token="liar")
    found = world.learned()
    assert found.discredited > 400
    assert set(found.prefixes.tolist()) == {*range(HONEST)}
    for prefix in range(HONEST):
        assert of(found, prefix)[NYC] == pytest.approx(TRUTH[prefix % 5, NYC], abs=8)


def test_what_is_forgotten_has_taught_nothing(world: Deployment) -> None:
    """Once the reports of a token are gone, all estimates are as they were without them."""
    world.report(np.tile(np.arange(2 * HONEST), 10), SYD, 3.0, token="thief", seats=True)
    ledger = world.model.ledger
    mine = np.isin(
        ledger.rows().sources, [source_number("browser", "thief", seat) for seat in range(8)]
    )
    assert ledger.forget(mine) == 800
    assert world.moved_ms() < 0.001, "a second has passed"
    assert HONEST not in world.learned().prefixes


def test_a_near_proxy_is_no_liar(world: Deployment) -> None:
    """Clients behind a proxy in Sydney that the geo data places in Berlin: all fits Sydney."""
    for region in range(5):
        at_sydney = np.full(10, TRUTH[4, region])
        world.report([HONEST] * 10, region, at_sydney, seats=True)
    found = world.learned()
    assert of(found, HONEST).argmin() == SYD
    assert found.prefixes[found.lost].tolist() == [HONEST]
    assert not found.doubtful[found.which == np.flatnonzero(found.prefixes == HONEST)[0]].any()
    assert world.moved_ms() < 1.0
