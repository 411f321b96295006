"""Great-circle distances, and the prior RTT by distance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

EARTH_RADIUS_KM = 6371.0088
"""Mean radius R1 of the WGS 84 ellipsoid (IUGG)."""

PRIOR_BASE_MS = 4.0
"""Delay of the access network and first hops, in both directions."""

PRIOR_MS_PER_KM = 0.015
"""Light in fibre takes 0.01 ms per km for a round trip; real paths are about 1.5 times as long."""

Vectors = npt.NDArray[np.float64]


def unit_vectors(latitudes: npt.ArrayLike, longitudes: npt.ArrayLike) -> Vectors:
    """Points of the unit sphere, shape (n, 3), from degrees."""
    latitude = np.radians(np.asarray(latitudes, dtype=np.float64))
    longitude = np.radians(np.asarray(longitudes, dtype=np.float64))
    ring = np.cos(latitude)
    return np.stack(
        [ring * np.cos(longitude), ring * np.sin(longitude), np.sin(latitude)], axis=-1
    ).reshape(-1, 3)


def distances_km(sites: Vectors, points: Vectors) -> npt.NDArray[np.float64]:
    """Great-circle distances in km, sites × points, by chords, which are exact for near points."""
    squares = np.zeros((len(sites), len(points)))
    for axis in range(3):
        squares += (sites[:, axis, None] - points[None, :, axis]) ** 2
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.clip(np.sqrt(squares) / 2, 0, 1))


def prior_us(distances: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The geographic prior in whole microseconds, so that every machine ranks alike."""
    return np.rint((PRIOR_BASE_MS + PRIOR_MS_PER_KM * distances) * 1000).astype(np.int64)
