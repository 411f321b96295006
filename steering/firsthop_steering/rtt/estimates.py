"""Inputs and outputs of the RTT model: terrain, estimates, their uncertainty and source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Floats, Ints, Keys

SOURCES = ("prior", "country", "asn", "prefix")
"""Main sources of estimates; `Estimates.source` has indexes into this tuple."""


@dataclass(frozen=True, slots=True)
class Terrain:
    """Distances, cells × regions in km, and the country number of each cell.

    The last row is for unlocated prefixes: its distances are the means over all cells.
    """

    distances_km: Floats
    countries: Ints


@dataclass(frozen=True, slots=True)
class Estimates:
    """Estimates, groups × regions: mean and standard deviation in ms, and the source's code."""

    rtt_ms: Floats
    deviation_ms: Floats
    source: npt.NDArray[np.int8]
    least_ms: Floats
    """Physical lower bound by the speed of light; 0 if the location is not trusted."""


Locate = Callable[[Keys], tuple[Ints, Ints]]
"""Maps prefixes to cells and AS numbers, with the geo data in use when the model learns."""
