"""Proofs of tickets: who can make one, and what is read from it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_ice.ufrag import RouteKeys
from firsthop_steering.feed.ticket_proof import TicketClaim, not_named, read_proof
from firsthop_steering.rtt.samples import PREFIX_LIMIT

KEYS = RouteKeys({3: bytes(32), 4: b"x" * 32})
OTHERS = RouteKeys({3: b"y" * 32})
CLAIM = TicketClaim(0xC63364, 5, "00" * 7, ("fra-1", "nyc-1"), datetime(2026, 11, 24, tzinfo=UTC))

slugs = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


@given(
    st.builds(
        TicketClaim,
        prefix=st.integers(0, PREFIX_LIMIT - 1),
        seat=st.integers(0, 7),
        nonce=st.binary(min_size=7, max_size=7).map(bytes.hex),
        relays=st.lists(slugs, min_size=1, max_size=5).map(tuple),
        expires_at=st.integers(0, 2**33).map(lambda each: datetime.fromtimestamp(each, UTC)),
    )
)
def test_what_was_signed_is_read(claim: TicketClaim) -> None:
    """With the keys of today, whichever of them signed."""
    assert read_proof(claim.proof(KEYS, 3), KEYS) == claim
    assert read_proof(claim.proof(KEYS, 4), KEYS) == claim
    assert read_proof(claim.proof(KEYS, 3), OTHERS) is None


@pytest.mark.fuzz
@given(st.data())
def test_no_other_text_is_a_proof(data: st.DataObject) -> None:
    """Not one with a character changed, added or removed."""
    proof = CLAIM.proof(KEYS, 3)
    at = data.draw(st.integers(0, len(proof) - 1))
    other = data.draw(st.text(max_size=2))
    changed = proof[:at] + other + proof[at + data.draw(st.integers(0, 1)) :]
    assert changed == proof or read_proof(changed, KEYS) is None


def test_only_its_relays_are_named() -> None:
    """The others are told by their place in the report."""
    assert not_named(CLAIM, ["nyc-1", "fra-2", "fra-1", "fra"]) == [1, 3]
