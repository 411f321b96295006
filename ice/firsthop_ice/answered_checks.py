"""The memory by which a replayed STUN check is recognised.

STUN has no nonce, so a check that somebody has sniffed is answered again, wherever it is sent from.
Only the first answer proves that the sender holds the password of the ufrag.
"""

from __future__ import annotations

from firsthop_ice.stun import TRANSACTION_ID_LENGTH


class AnsweredChecks:
    """Transaction ids of the latest answered checks of one ufrag or session."""

    __slots__ = ("_ids", "_size")

    def __init__(self, most: int) -> None:
        """`most` is how many are remembered; each takes 12 bytes."""
        self._ids = bytearray()
        self._size = most * TRANSACTION_ID_LENGTH

    def __contains__(self, transaction_id: bytes) -> bool:
        """Whether a check with this id was answered."""
        return transaction_id in self._ids

    def add(self, transaction_id: bytes) -> None:
        """Add the id of an answered check."""
        self._ids += transaction_id
        del self._ids[: -self._size]
