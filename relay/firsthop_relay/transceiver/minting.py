"""Mints credentials at the transceiver, for sessions without an allocator.

For this a transceiver needs the route keys, which relays hold as well, and the relays to offer. It
mints credentials for itself only, with the signing key in the key file of its region.
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
"""How long a credential opens new flows, as by default at an allocator. Sessions outlive it."""


@dataclass(slots=True)
class Mint:
    """What minting needs. `route_keys` may be replaced at any time."""

    route_keys: RouteKeys
    candidates: tuple[str, ...]
    """The candidate attributes of the relays (RFC 8839 §5.1), best first, without `a=`."""
    clock: Callable[[], datetime]
    entropy: Callable[[int], bytes] = os.urandom

    def ufrag(self, keys: RegionKeys, wire_id: int) -> str:
        """A new ufrag for this transceiver, which has `wire_id`. Raises SessionError 503 while the
        route key is missing that belongs to the signing key of `keys`."""
        route_key = self.route_keys.by_id.get(keys.signing)
        if route_key is None:
            raise SessionError(503, f"route key {keys.signing} has not been loaded yet", "no_key")
        made, _ = mint_ufrag(
            route_key,
            keys.signing,
            region=keys.region,
            transceiver=wire_id,
            expires_at=self.clock() + LIFETIME,
            entropy=self.entropy(ENTROPY_LENGTH),
        )
        return made
