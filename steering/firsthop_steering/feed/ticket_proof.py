"""The proof of a measurement ticket: for which client prefix and relays an allocator issued it.

A proof is one line of text that any holder of the route keys can verify without state:

    <key id>.<expiry>.<prefix>.<seat>.<nonce>.<relay>,<relay>,….<tag>

The expiry is in seconds since 1970, the prefix is the number of the client's /24 or /48 in hex, and
the nonce is 14 hex digits. The tag is the first 16 bytes of HMAC-SHA256 over "firsthop ticket v1"
and everything before it, with a route key, as base64url. Time and entropy are arguments.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from firsthop_ice.ufrag import RouteKeys

SEATS = 8
"""Number of seats of a prefix. An address always has the same seat, so reports of several seats are
by several clients, and nothing else of the address is kept."""
MAX_PROOF = 640
"""Greatest length of a proof; one with five relay ids of 63 characters has 402."""
_FORM = re.compile(
    r"(?P<key>[0-9]{1,2})\.(?P<expiry>[0-9]{1,12})\.(?P<prefix>[0-9a-f]{1,13})"
    r"\.(?P<seat>[0-7])\.(?P<nonce>[0-9a-f]{14})\.(?P<relays>[a-z0-9,-]+)\.(?P<tag>[A-Za-z0-9_-]{22})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class TicketClaim:
    """What a proof says: who may report round trips to which relays, and until when."""

    prefix: int
    """The number of the client's /24 or /48 (`rtt.samples.prefix_of`)."""
    seat: int
    nonce: str
    relays: tuple[str, ...]
    expires_at: datetime

    def proof(self, keys: RouteKeys, signing: int) -> str:
        """The proof, signed with the key `signing`; the expiry loses its fraction of a second."""
        body = (
            f"{signing}.{int(self.expires_at.timestamp())}.{self.prefix:x}.{self.seat}"
            f".{self.nonce}.{','.join(self.relays)}"
        )
        return f"{body}.{_tag(keys.by_id[signing], body)}"


def seat_of(host: int, keys: RouteKeys, signing: int) -> int:
    """The seat of a client's address; `host` is its IPv4 address, or the first 56 bits of IPv6."""
    text = b"firsthop seat v1" + host.to_bytes(8, "big")
    return hmac.digest(keys.by_id[signing], text, "sha256")[0] % SEATS


def read_proof(proof: str, keys: RouteKeys) -> TicketClaim | None:
    """The claim of a proof that one of `keys` signed; None for anything else. It may be expired."""
    form = _FORM.fullmatch(proof) if len(proof) <= MAX_PROOF else None
    key = keys.by_id.get(int(form["key"])) if form else None
    if form is None or key is None:
        return None
    if not hmac.compare_digest(_tag(key, proof[: form.end("relays")]), form["tag"]):
        return None
    return TicketClaim(
        int(form["prefix"], 16),
        int(form["seat"]),
        form["nonce"],
        tuple(form["relays"].split(",")),
        datetime.fromtimestamp(int(form["expiry"]), UTC),
    )


def not_named(claim: TicketClaim, relays: Iterable[str]) -> list[int]:
    """The indices of the relays that the ticket does not name."""
    return [index for index, relay in enumerate(relays) if relay not in claim.relays]


def _tag(key: bytes, body: str) -> str:
    digest = hmac.digest(key, b"firsthop ticket v1" + body.encode("ascii"), "sha256")
    return urlsafe_b64encode(digest[:16]).rstrip(b"=").decode("ascii")
