"""What the model is asked with, and what it answers: estimates, uncertainty, origin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Floats, Ints, Keys

SOURCES = ("prior", "country", "asn", "prefix")
"""What an estimate mostly rests on, by the codes of `Estimates.source`."""


@dataclass(frozen=True, slots=True)
class Terrain:
    """Cells × regions in km, and each cell's country by number.

    The last cell stands for "not located": its distances are the means over all cells.
    """

    distances_km: Floats
    countries: Ints


@dataclass(frozen=True, slots=True)
class Estimates:
    """Groups × regions: milliseconds, standard deviation, and the code of what they rest on."""

    rtt_ms: Floats
    deviation_ms: Floats
    source: npt.NDArray[np.int8]
    least_ms: Floats
    """What light needs; 0 where the place is not believed."""


Locate = Callable[[Keys], tuple[Ints, Ints]]
"""Cells and AS numbers of prefixes, at the time of learning: the geo data may change."""
