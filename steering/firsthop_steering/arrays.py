"""Names of NumPy array types by element type."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
"""Prefix numbers or table keys."""
Mask = npt.NDArray[np.bool_]
