"""What edges are told of what was learned, and when there is nothing new to tell."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import numpy as np
import pytest

from firsthop_controlplane.learning import publication
from firsthop_controlplane.learning.intake import BATCHES_KEPT_S
from firsthop_controlplane.learning.memory import Memory
from firsthop_controlplane.learning.publication import Publication
from firsthop_steering.decision.placement import Ground
from firsthop_steering.feed.snapshot import Latency
from firsthop_steering.rtt.samples import Samples, parse_prefix, prefix_of
from support.worlds import europe_and_america, key_of, plan_of

NOW = 1_800_000_000
DOCUMENT: dict[str, Any] = {
    "regions": [
        {"id": "fra", "latitude": 50.11, "longitude": 8.68},
        {"id": "nyc", "latitude": 40.71, "longitude": -74.01},
    ],
}
GEO = europe_and_america()
GROUND = Ground.of(plan_of(DOCUMENT), GEO)


def learner(*rows: tuple[str, str, float], times: int = 10) -> Memory:
    """What is known after so many samples each: prefix, region, ms."""
    memory = Memory()
    for number in range(times):
        regions = [memory.numbers.number(region, GROUND.regions) or 0 for _, region, _ in rows]
        memory.intake.take(
            f"batch-{number}",
            Samples(
                np.array([parse_prefix(prefix) for prefix, _, _ in rows], dtype=np.uint64),
                np.array(regions),
                np.ones(len(rows), dtype=np.int64),
                np.array([rtt for _, _, rtt in rows]),
            ),
            NOW,
        )
        memory.observe(memory.intake.drain(NOW), now=NOW, kept_s=BATCHES_KEPT_S)
    return memory


def latency(made: Publication) -> Latency:
    """As it is published."""
    assert made.shared is not None
    return Latency(
        number=1,
        lineage="store",
        created_at=datetime.now(UTC),
        regions=made.regions,
        ms_per_km=made.shared.ms_per_km,
        base_ms=made.shared.base_ms,
        scale=made.shared.scale,
        countries=dict(made.shared.countries),
        prefixes=made.rows(),
    )


MEASURED = [
    ("198.51.100.0/24", "fra", 120.0),
    ("198.51.100.0/24", "nyc", 20.0),
    ("2001:db8:7::/48", "fra", 15.0),
]


def test_rows_are_of_what_was_measured() -> None:
    """IPv4 and IPv6, in tenths of a millisecond; the same again is no news."""
    memory, made = learner(*MEASURED), Publication()
    assert made.round(memory.learn(GROUND), GROUND)
    told = latency(made)
    assert told.regions == ("fra", "nyc")
    assert told.prefixes.keys() == {"198.51.100.0/24", "2001:db8:7::/48"}
    fra, nyc = told.prefixes["198.51.100.0/24"]
    assert fra == pytest.approx(1200, abs=100)
    assert nyc == pytest.approx(200, abs=50)
    assert made.row(parse_prefix("198.51.100.0/24"))["fra"] == pytest.approx(fra / 10)
    assert made.row(parse_prefix("203.0.113.0/24")) == {}
    assert made.round(memory.learn(GROUND), GROUND), "it is due until it was published"
    made.is_due = False
    assert not made.round(memory.learn(GROUND), GROUND)
    made.start_over(np.array([parse_prefix("198.51.100.0/24")], dtype=np.uint64))
    assert made.is_due, "a row that is gone is news, whatever the next round finds"


def test_who_goes_on_from_a_snapshot_has_no_news() -> None:
    """The next leader, which learned of the same samples."""
    memory, made = learner(*MEASURED), Publication()
    made.round(memory.learn(GROUND), GROUND)
    heir = Publication.resumed(latency(made))
    assert not heir.round(memory.learn(GROUND), GROUND)
    assert heir.rows() == made.rows()


def test_what_no_path_was_measured_of_is_the_prior() -> None:
    """A prefix without a row is expected what the geographic prior says, as before."""
    made = Publication()
    made.round(Memory().learn(GROUND), GROUND)
    told = latency(made)
    assert (told.ms_per_km, told.base_ms, told.countries) == (0.015, (4.0, 4.0), {})


def test_a_new_region_is_told_at_once() -> None:
    """With the order of the others as it was."""
    memory, made = learner(*MEASURED), Publication()
    made.round(memory.learn(GROUND), GROUND)
    more = {"id": "ams", "latitude": 52.37, "longitude": 4.9}
    ground = Ground.of(plan_of({"regions": [*DOCUMENT["regions"], more]}), GEO)
    made.is_due = False
    assert made.round(memory.learn(ground), ground)
    told = latency(made)
    assert told.regions == ("ams", "fra", "nyc")
    _, fra, nyc = told.prefixes["198.51.100.0/24"]
    assert fra is not None
    assert nyc is not None
    assert nyc < fra


def test_the_rows_that_gain_most_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are more than a snapshot holds."""
    dull = [(f"198.51.{each}.0/24", region, rtt) for each in range(9)
            for region, rtt in (("fra", 20.0), ("nyc", 100.0))]  # fmt: skip
    memory = learner(*dull, *MEASURED[:2])
    monkeypatch.setattr(publication, "MAX_NUMBERS", 4)
    made = Publication()
    made.round(memory.learn(GROUND), GROUND)
    assert len(made.rows()) == 2
    assert "198.51.100.0/24" in made.rows()


def test_prefixes_are_located_as_edges_locate_clients() -> None:
    """Cell and AS number; what has no place is in the last cell."""
    for text in ("192.0.2.0", "198.51.100.0", "203.0.113.0", "2001:db8::", "8.8.8.0"):
        family, key = key_of(ip_address(text))
        cells, asns = GROUND.locate(np.array([prefix_of(family, key)], dtype=np.uint64))
        cell = GEO.find_cell(family, key)
        assert cells[0] == (cell if cell < len(GEO) else len(GEO))
        assert asns[0] == GEO.find_asn(family, key)
    assert GROUND.nations[GROUND.terrain.countries[len(GEO)]] == ""
