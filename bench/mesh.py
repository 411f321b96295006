"""Reads a world from a measured mesh of latencies; bench/README.md describes both formats.

Errors name the location in the file. True RTTs are the file's and constant; noise is drawn. Clients
are located at their site, unless they are drawn to be mislocated.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from bench.internet import Floats, Ints, World

from firsthop_steering.rtt.geography import distances_km, unit_vectors

FAR_MS = 10_000.0
"""Upper bound of RTTs; a larger value indicates another unit."""

MIN_SITES = 3
"""A client and two relays."""


class MeshError(Exception):
    """The file is not a valid or sufficient mesh; the message says where."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """A mesh: `rtt_ms` is sites × `relays` (numbers of sites), or sites × sites without relays; NaN
    where nothing was measured."""

    positions: Floats
    countries: list[str]
    asns: list[str]
    relays: Ints | None
    rtt_ms: Floats


def mesh(path: Path, *, relays: int, per_site: int, misplaced: float, seed: int) -> World:
    """A world with the file's relays, else with `relays` sites chosen by farthest point.

    Every other site is a client with `per_site` prefixes in one AS. Raises MeshError.
    """
    read = read_mesh(path)
    draw = np.random.default_rng(seed)
    chosen = spread_out(read.positions, relays) if read.relays is None else read.relays
    measured = read.rtt_ms[:, chosen] if read.relays is None else read.rtt_ms
    clients = np.setdiff1d(np.arange(len(read.positions)), chosen)
    rows, columns = _complete(measured[clients])
    homes, chosen = clients[rows], chosen[columns]
    if len(chosen) < 2 or not len(homes):
        raise MeshError(
            f"{len(homes)} sites have an RTT to the same {len(chosen)} relays; one site and two "
            "relays are the least"
        )
    home = np.repeat(homes, per_site)
    _, countries = np.unique(read.countries, return_inverse=True)
    _, asns = np.unique(read.asns, return_inverse=True)
    wrong = draw.random(len(home)) < misplaced
    return World(
        read.positions[chosen], read.positions, countries,
        np.where(wrong, draw.choice(homes, len(home)), home), asns[home],
        np.repeat(measured[clients][rows][:, columns], per_site, axis=0),
        draw.uniform(0.5, 3, len(home)), np.empty(0),
        np.zeros((len(home), len(chosen)), dtype=bool),
    )  # fmt: skip


def read_mesh(path: Path) -> Mesh:
    """Reads and checks a file. Raises MeshError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as wrong:
        raise MeshError(f"cannot be read: {wrong}") from None
    ids, locations, named, rows = _read_json(text) if path.suffix == ".json" else _read_csv(text)
    for kind, names in (("site", ids), ("relay", named or [])):
        twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
        if twice is not None:
            raise MeshError(f"{kind} {twice!r} is there twice")
    unknown = next((name for name in named or [] if name not in ids), None)
    if unknown is not None:
        raise MeshError(f"relay {unknown!r} is not the id of a site")
    if len(ids) < MIN_SITES:
        raise MeshError(f"{len(ids)} sites; {MIN_SITES} are the least")
    if len(rows) != len(ids):
        raise MeshError(f"rtt_ms has {len(rows)} rows, and there are {len(ids)} sites")
    widths = {len(ids)} if named is None else {len(ids), len(named)}
    for name, row in zip(ids, rows, strict=True):
        if len(row) not in widths or len(row) != len(rows[0]):
            raise MeshError(
                f"the row of site {name!r} has {len(row)} round trips; every row has one a site, "
                "or one a relay where relays are named"
            )
    rtt = np.array(
        [[_milliseconds(cell, name) for cell in row] for name, row in zip(ids, rows, strict=True)]
    )
    if len(ids) == rtt.shape[1]:  # a path that was measured in the other direction only
        rtt = np.where(np.isnan(rtt), rtt.T, rtt)
    relays = None if named is None else np.array([ids.index(name) for name in named])
    if relays is not None and rtt.shape[1] == len(ids):
        rtt = rtt[:, relays]
    positions = np.array(
        [(_degrees(a, 90, "latitude", n), _degrees(b, 180, "longitude", n))
         for n, (a, b, _, _) in zip(ids, locations, strict=True)]
    )  # fmt: skip
    asns = [asn or name for name, (_, _, _, asn) in zip(ids, locations, strict=True)]
    return Mesh(positions, [country for _, _, country, _ in locations], asns, relays, rtt)


_Read = tuple[list[str], list[tuple[Any, Any, str, str]], list[str] | None, list[list[Any]]]


def _read_json(text: str) -> _Read:
    try:
        raw = json.loads(text)
        sites, rows, named = raw["sites"], raw["rtt_ms"], raw.get("relays")
        ids = [str(each.get("id", index)) for index, each in enumerate(sites)]
        locations = [
            (each["latitude"], each["longitude"], str(each.get("country") or ""),
             str(each.get("asn") or ""))
            for each in sites
        ]  # fmt: skip
        return ids, locations, named and [str(name) for name in named], [list(row) for row in rows]
    except KeyError as wrong:
        raise MeshError(f"{wrong} is missing") from None
    except (ValueError, TypeError, AttributeError) as wrong:
        raise MeshError(f"is not JSON with sites, rtt_ms and perhaps relays: {wrong}") from None


def _read_csv(text: str) -> _Read:
    rows = [row for row in csv.reader(text.splitlines()) if row]
    heads = ["id", "latitude", "longitude", "country", "asn"]
    if not rows or [head.strip().lower() for head in rows[0][:5]] != heads:
        raise MeshError(f"the first line has to begin with {','.join(heads)}")
    short = next((row for row in rows if len(row) != len(rows[0])), None)
    if short is not None:
        raise MeshError(f"the line of {short[0]!r} has {len(short)} cells, not {len(rows[0])}")
    ids, named = [row[0] for row in rows[1:]], rows[0][5:]
    locations: list[tuple[Any, Any, str, str]] = [
        (row[1], row[2], row[3], row[4]) for row in rows[1:]
    ]
    return ids, locations, None if named == ids else named, [row[5:] for row in rows[1:]]


def _milliseconds(cell: Any, site: str) -> float:
    if cell is None or cell == "":
        return np.nan
    try:
        value = float(cell)
    except (TypeError, ValueError):
        raise MeshError(f"{cell!r} in the row of site {site!r} is not a round trip in ms") from None
    if value < 0 or value > FAR_MS:
        raise MeshError(f"{value:g} in the row of site {site!r} is not within 0 to {FAR_MS:g} ms")
    return value


def _degrees(cell: Any, limit: int, name: str, site: str) -> float:
    try:
        value = float(cell)
    except (TypeError, ValueError):
        value = np.nan
    if not abs(value) <= limit:
        raise MeshError(f"{name} of site {site!r} is {cell!r}, not degrees within ±{limit}")
    return value


def _complete(rtt: Floats) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Sites and relays with all pairs measured; those that lack most are left out first."""
    missing = np.isnan(rtt)
    rows, columns = np.ones(len(rtt), dtype=bool), np.ones(rtt.shape[1], dtype=bool)
    while (left := missing & rows[:, None] & columns).any():
        by_row = left.sum(axis=1) / columns.sum()
        by_column = left.sum(axis=0) / rows.sum()
        if by_row.max() >= by_column.max():
            rows[by_row.argmax()] = False
        else:
            columns[by_column.argmax()] = False
    return rows, columns


def spread_out(positions: Floats, count: int) -> Ints:
    """Farthest-point selection: the first site, then always the one farthest from all chosen."""
    vectors = unit_vectors(*positions.T)
    chosen = [0]
    nearest = distances_km(vectors[:1], vectors)[0]
    while len(chosen) < min(count, len(positions) - 1):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, distances_km(vectors[chosen[-1:]], vectors)[0])
    return np.array(chosen)
