"""The numbers of sources: who reported a sample, as 54 bits.

bits 0–47   the token, by a digest of its id
bits 48–50  the seat of the client's address, for browsers
bits 51–53  the kind
"""

from __future__ import annotations

import hashlib
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from firsthop_steering.arrays import Ints

SourceKind = Literal["browser", "allocator", "transceiver", "agent", "operator", "unknown"]
"""A browser reports for itself, with a ticket and through an edge. Allocators, transceivers and
agents report for their clients. Unknown are samples that were learned before sources were kept."""
KINDS: tuple[SourceKind, ...] = get_args(SourceKind)
_ALONE = [KINDS.index(each) for each in ("browser", "operator", "unknown")]
_TOKEN_BITS, _SEAT_BITS = 48, 3
_TOKEN_MASK = (1 << _TOKEN_BITS) - 1


def token_number(token: str) -> int:
    """The number of a token with this id."""
    return int.from_bytes(hashlib.sha256(token.encode()).digest()[:6])


def source_number(kind: SourceKind, token: str, seat: int = 0) -> int:
    """The number of a source: a token, or a seat of a prefix whose browsers report through it."""
    place = KINDS.index(kind) << _SEAT_BITS | seat
    return place << _TOKEN_BITS | token_number(token)


def tokens_of(sources: Ints) -> Ints:
    """The token numbers of sources."""
    return sources & _TOKEN_MASK


def kinds_of(sources: Ints) -> Ints:
    """The kinds of sources, as indices of KINDS."""
    return sources >> (_TOKEN_BITS + _SEAT_BITS)


def are_clients(sources: Ints) -> npt.NDArray[np.bool_]:
    """Mask of the sources that may speak for a prefix alone: its clients, and operators."""
    return np.isin(kinds_of(sources), _ALONE)
