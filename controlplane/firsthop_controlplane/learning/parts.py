"""The file format of the learned ledger: each part has the reports since the previous part.

All parts in order result in the whole ledger. A batch of samples and its name are in the same part,
so a batch that is also sent to the next leader is counted exactly once. Format 1 had, in place of
single reports, the mean of each (prefix, region), without sources; a later one replaced it.
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
from firsthop_steering.rtt.sources import source_number

FORMAT = 2
_Columns = tuple[tuple[str, str], ...]
_COLUMNS: _Columns = (("keys", "<u8"), ("sources", "<i8"), ("rtt_ms", "<f4"), ("at", "<u4"))
_MEANS: _Columns = (
    ("keys", "<u8"),
    ("count", "<f4"),
    ("mean_ms", "<f4"),
    ("spread_ms", "<f4"),
    ("touched", "<u4"),
)
MAX_OF_MEAN = 8
"""Most reports as which a mean of format 1 counts."""
_LEVEL = 1
"""Level of zlib; it halves the size in a tenth of the default level's time."""


@dataclass(frozen=True, slots=True)
class Part:
    """New reports, ascending by key; all region names, by number; the names of batches."""

    rows: LedgerRows
    regions: Sequence[str]
    batches: Mapping[str, float]
    is_means: bool = False
    """Whether it has format 1, so that its rows replace those of earlier parts."""


def pack(part: Part) -> bytes:
    """Encode a part."""
    head = {
        "format": FORMAT,
        "rows": len(part.rows),
        "regions": list(part.regions),
        "batches": dict(part.batches),
    }
    columns = [np.asarray(getattr(part.rows, name), kind).tobytes() for name, kind in _COLUMNS]
    return zlib.compress(b"".join([json.dumps(head).encode(), b"\n", *columns]), _LEVEL)


def unpack(content: bytes) -> Part:
    """Decode a part of any format; raises ValueError if `content` is not one."""
    try:
        raw = zlib.decompress(content)
        line, _, body = raw.partition(b"\n")
        head: dict[str, Any] = json.loads(line)
        number, count = head["format"], int(head["rows"])
        if number not in (1, FORMAT):
            raise ValueError(f"format {number!r} is neither 1 nor {FORMAT}")
        columns = _columns(body, _MEANS if number == 1 else _COLUMNS, count)
        rows = _reports(columns) if number == 1 else LedgerRows(**columns)
        return Part(rows, tuple(head["regions"]), head["batches"], is_means=number == 1)
    except (zlib.error, KeyError, TypeError) as error:
        raise ValueError(f"not a part of the learned ledger: {error!r}") from None


def _columns(body: bytes, kinds: _Columns, count: int) -> dict[str, npt.NDArray[Any]]:
    at, columns = 0, {}
    for name, kind in kinds:
        column = np.frombuffer(body, kind, count, at)
        at += column.nbytes
        columns[name] = column.astype(column.dtype.newbyteorder("="))
    return columns


def _reports(means: Mapping[str, npt.NDArray[Any]]) -> LedgerRows:
    """The means of format 1, each as so many equal reports as it had samples."""
    times = np.clip(np.rint(means["count"]), 1, MAX_OF_MEAN).astype(np.int64)
    return LedgerRows(
        np.repeat(means["keys"], times),
        np.full(int(times.sum()), source_number("unknown", ""), dtype=np.int64),
        np.repeat(means["mean_ms"], times),
        np.repeat(means["touched"], times),
    )
