"""The file format of the learned ledger: each part has the changes since the previous part.

All parts in order result in the whole ledger. A batch of samples and its name are in the same part,
so a batch that is also sent to the next leader is counted exactly once.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from firsthop_steering.rtt.ledger import LedgerRows

FORMAT = 1
_COLUMNS: tuple[tuple[str, str], ...] = (
    ("keys", "<u8"),
    ("count", "<f4"),
    ("mean_ms", "<f4"),
    ("spread_ms", "<f4"),
    ("touched", "<u4"),
)
_LEVEL = 1
"""Level of zlib; it halves the size in a tenth of the default level's time."""


@dataclass(frozen=True, slots=True)
class Part:
    """Changed rows; all region names, by number; the trust records of sources."""

    rows: LedgerRows
    regions: Sequence[str]
    batches: Mapping[str, float]
    trust: Mapping[int, tuple[float, float]]


def pack(part: Part) -> bytes:
    """Encode a part."""
    head = {
        "format": FORMAT,
        "rows": len(part.rows),
        "regions": list(part.regions),
        "batches": dict(part.batches),
        "trust": [[source, *record] for source, record in part.trust.items()],
    }
    columns = [np.asarray(getattr(part.rows, name), kind).tobytes() for name, kind in _COLUMNS]
    return zlib.compress(b"".join([json.dumps(head).encode(), b"\n", *columns]), _LEVEL)


def unpack(content: bytes) -> Part:
    """Decode a part; raises ValueError if `content` is not one."""
    try:
        raw = zlib.decompress(content)
        line, _, body = raw.partition(b"\n")
        head: dict[str, Any] = json.loads(line)
        if head["format"] != FORMAT:
            raise ValueError(f"format {head['format']!r} is not {FORMAT}")
        count, at, columns = int(head["rows"]), 0, {}
        for name, kind in _COLUMNS:
            columns[name] = _column(body, kind, count, at)
            at += columns[name].nbytes
        return Part(
            LedgerRows(**columns),
            tuple(head["regions"]),
            head["batches"],
            {int(source): (float(n), float(d)) for source, n, d in head["trust"]},
        )
    except (zlib.error, KeyError, TypeError) as error:
        raise ValueError(f"not a part of the learned ledger: {error!r}") from None


def _column(body: bytes, kind: str, count: int, at: int) -> npt.NDArray[Any]:
    column = np.frombuffer(body, kind, count, at)
    return column.astype(column.dtype.newbyteorder("="))
