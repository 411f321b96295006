"""How many calls a token may make: each costs one unit, and more with a large or wrong body."""

from __future__ import annotations

from firsthop_controlplane.errors import Refused, TooMany
from firsthop_steering.feed.token_bucket import TokenBuckets

BURST = 2_000
"""Units of a token that has not been used for a while."""
REFILL_S = 0.005
"""Seconds until one unit is added."""
UNIT_BYTES = 2**15
"""Bytes of a body that cost one unit: a prober of 10,000 relays in both families sends 20 parts of
170 KB a second, which cost 124 units of the 200."""
MAX_BODY_UNITS = 200
"""What a body costs at most: whole documents are few, and checked in a child process."""
WRONG_FACTOR = 10
"""How many times more a body costs that is refused."""
UNKNOWN_BURST = 100
"""Unknown tokens that one address may try at once: each is looked up in the database."""
UNKNOWN_REFILL_S = 0.1
"""Seconds until it may try one more."""
MAX_CALLERS = 10_000
"""Tokens, and as many addresses, that are remembered."""
_WRONG = frozenset({400, 408, 413, 422})


class CallBudgets:
    """The budgets of all tokens, and of addresses that try unknown ones. Time is an argument."""

    def __init__(self) -> None:
        self._tokens = TokenBuckets(burst=BURST, refill_s=REFILL_S, max_keys=MAX_CALLERS)
        self._unknown = TokenBuckets(
            burst=UNKNOWN_BURST, refill_s=UNKNOWN_REFILL_S, max_keys=MAX_CALLERS
        )

    def spend(self, token: str, now: float) -> None:
        """One call. Raises TooMany."""
        _check(self._tokens.wait_s(token, now), "This token has called too often.")

    def spend_unknown(self, address: str | None, now: float) -> None:
        """One try of a token that this process does not know. Raises TooMany."""
        wait_s = self._unknown.wait_s(address, now)
        _check(wait_s, "Too many unknown tokens have come from this address.")

    def charge(self, token: str, now: float, size: int, refused: Refused | None = None) -> None:
        """A body of `size` bytes, and whether it was refused."""
        units = min(MAX_BODY_UNITS, size / UNIT_BYTES)
        if refused is not None and refused.status in _WRONG:
            units *= WRONG_FACTOR
        self._tokens.charge(token, now, units)


def _check(wait_s: int, detail: str) -> None:
    if wait_s:
        raise TooMany(detail, retry_after_s=wait_s)
