"""A measured mesh from a file: what it is made of, and what is said of a file that is not one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench.mesh import MeshError, mesh, read_mesh

SITES = [
    {"id": name, "latitude": 10 * place, "longitude": 20 * place, "country": "", "asn": ""}
    for place, name in enumerate("abcde")
]
RTT = [[float(10 * abs(row - column)) for column in range(5)] for row in range(5)]


def written(folder: Path, **changes: Any) -> Path:
    """A file of five sites, with these parts replaced (or left out where None)."""
    parts = {"sites": SITES, "relays": ["a", "e"], "rtt_ms": RTT, **changes}
    path = folder / "mesh.json"
    path.write_text(json.dumps({name: part for name, part in parts.items() if part is not None}))
    return path


def test_sites_that_are_no_relays_are_clients(tmp_path: Path) -> None:
    """With the file's round trips to the relays, from row to column."""
    world = mesh(written(tmp_path), relays=9, per_site=2, misplaced=0.0, seed=1)
    assert world.rtt_ms.tolist() == [[10, 30], [10, 30], [20, 20], [20, 20], [30, 10], [30, 10]]


def test_without_relays_the_farthest_sites_are(tmp_path: Path) -> None:
    """As many as asked for, and one site at least is left to be a client."""
    for count, left in ((2, 3), (200, 1)):
        world = mesh(
            written(tmp_path, relays=None), relays=count, per_site=1, misplaced=0.0, seed=1
        )
        assert len(world.rtt_ms) == left


def test_what_was_measured_from_the_other_end_only_counts(tmp_path: Path) -> None:
    """A square mesh with a hole; a hole on both ends costs the site."""
    holed = [list(row) for row in RTT]
    holed[1][0] = None  # type: ignore[call-overload]
    world = mesh(written(tmp_path, rtt_ms=holed), relays=2, per_site=1, misplaced=0.0, seed=1)
    assert world.rtt_ms[:, 0].tolist() == [10, 20, 30]
    holed[0][1] = None  # type: ignore[call-overload]
    world = mesh(written(tmp_path, rtt_ms=holed), relays=2, per_site=1, misplaced=0.0, seed=1)
    assert world.rtt_ms[:, 0].tolist() == [20, 30]


def test_a_relay_that_hardly_anybody_measured_is_left_out(tmp_path: Path) -> None:
    """Not all the sites that did not measure it."""
    rows = [[1.0, 2.0, 3.0 if row == 1 else None] for row in range(5)]
    path = written(tmp_path, relays=["a", "e", "d"], rtt_ms=rows)
    world = mesh(path, relays=2, per_site=1, misplaced=0.0, seed=1)
    assert world.rtt_ms.tolist() == [[1, 2], [1, 2]]


def test_csv_is_read_as_json_is(tmp_path: Path) -> None:
    """The columns are relays; all sites in their order mean that none is named."""
    path = tmp_path / "mesh.csv"
    lines = [f"{each['id']},{each['latitude']},{each['longitude']},," for each in SITES]
    path.write_text(
        "id,latitude,longitude,country,asn,a,e\n"
        + "\n".join(f"{line},{row[0]},{row[4]}" for line, row in zip(lines, RTT, strict=True))
    )
    found, same = read_mesh(path), read_mesh(written(tmp_path))
    np.testing.assert_array_equal(found.rtt_ms, same.rtt_ms)
    np.testing.assert_array_equal(found.positions, same.positions)
    assert found.asns == same.asns


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rtt_ms": None}, "'rtt_ms' is missing"),
        ({"sites": SITES[:2], "rtt_ms": RTT[:2], "relays": ["a"]}, "2 sites; 3 are the least"),
        ({"rtt_ms": RTT[:4]}, "4 rows, and there are 5 sites"),
        ({"rtt_ms": [*RTT[:4], RTT[4][:3]]}, "the row of site 'e' has 3 round trips"),
        ({"rtt_ms": [*RTT[:4], [*RTT[4][:4], "fast"]]}, "'fast' in the row of site 'e'"),
        ({"rtt_ms": [*RTT[:4], [*RTT[4][:4], -1]]}, "-1 in the row of site 'e' is not within"),
        ({"relays": ["a", "x"]}, "relay 'x' is not the id of a site"),
        ({"relays": ["a", "a"]}, "relay 'a' is there twice"),
        ({"sites": [*SITES[:4], SITES[0]]}, "site 'a' is there twice"),
        ({"sites": [*SITES[:4], {**SITES[4], "latitude": 91}]}, "latitude of site 'e' is 91"),
        ({"sites": [*SITES[:4], {**SITES[4], "longitude": None}]}, "longitude of site 'e' is None"),
        ({"sites": 7}, "is not JSON with sites"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    """With its place in the file."""
    with pytest.raises(MeshError, match=said):
        read_mesh(written(tmp_path, **changes))


def test_one_relay_leaves_nothing_to_choose(tmp_path: Path) -> None:
    """Said so, not computed."""
    with pytest.raises(MeshError, match="two relays are the least"):
        mesh(written(tmp_path, relays=["a"]), relays=1, per_site=1, misplaced=0.0, seed=1)


def test_no_csv_and_no_file(tmp_path: Path) -> None:
    """Neither a traceback nor silence."""
    path = tmp_path / "mesh.csv"
    with pytest.raises(MeshError, match="cannot be read"):
        read_mesh(path)
    path.write_text("name,where\n")
    with pytest.raises(MeshError, match="has to begin with id,latitude"):
        read_mesh(path)
