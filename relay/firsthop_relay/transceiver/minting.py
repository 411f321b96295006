"""Sessions without an allocator: a transceiver whose signalling is steered mints by itself.

It needs the route keys, as a relay holds them, and is told which relays to name; it mints for
itself alone, under the key that its region's file calls the signing one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from firsthop_ice.region_keys import RegionKeys
from firsthop_ice.ufrag import ENTROPY_LENGTH, RouteKeys, mint_ufrag
from firsthop_relay.transceiver.errors import SessionError

LIFETIME = timedelta(hours=1)
"""For new flows, as an allocator gives it by default; a session outlives it."""


@dataclass(slots=True)
class Mint:
    """`route_keys` may be replaced at any time."""

    route_keys: RouteKeys
    candidates: tuple[str, ...]
    """The candidate-attributes of the relays (RFC 8839 §5.1), best first, without `a=`."""
    clock: Callable[[], datetime]
    entropy: Callable[[int], bytes] = os.urandom

    def ufrag(self, keys: RegionKeys, wire_id: int) -> str:
        """A fresh one for this transceiver. Raises SessionError 503 while a key is missing."""
        route_key = self.route_keys.by_id.get(keys.signing)
        if route_key is None:
            raise SessionError(503, f"route key {keys.signing} has not come yet", "no_key")
        made, _ = mint_ufrag(
            route_key,
            keys.signing,
            region=keys.region,
            transceiver=wire_id,
            expires_at=self.clock() + LIFETIME,
            entropy=self.entropy(ENTROPY_LENGTH),
        )
        return made
