"""Parts of the learned ledger as versions before sources wrote them (format 1)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence

import numpy as np

Mean = tuple[int, float, float, int]
"""Key, count, mean in ms, and the time of the last sample."""


def part_of_means(regions: Sequence[str], *rows: Mean, batches: dict[str, float]) -> bytes:
    """A packed part; rows ascend by key."""
    head = {"format": 1, "rows": len(rows), "regions": [*regions], "batches": batches, "trust": []}
    columns = [
        np.array([row[0] for row in rows], "<u8"),
        np.array([row[1] for row in rows], "<f4"),
        np.array([row[2] for row in rows], "<f4"),
        np.zeros(len(rows), "<f4"),
        np.array([row[3] for row in rows], "<u4"),
    ]
    octets = [json.dumps(head).encode(), b"\n", *(each.tobytes() for each in columns)]
    return zlib.compress(b"".join(octets))
