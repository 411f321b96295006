"""A clock that is an hour off, ahead or behind, after another has made a value."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

import pytest

from firsthop_ice.ufrag import (
    CredentialKeys,
    Decoded,
    RejectedUfrag,
    RouteKeys,
    decode,
    mint,
    mint_probe_credential,
)
from firsthop_steering.feed.snapshot import CredentialKey, KeySet, Plan, age_s, supersedes
from support.worlds import plan_of, status_of

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
STEPS = [timedelta(hours=-1), timedelta(hours=1)]
KEYS = KeySet(
    number=1,
    lineage="test",
    created_at=NOW,
    signing=1,
    keys=(CredentialKey(id=1, route="01" * 32, password="02" * 32, created_at=NOW),),
)


@pytest.mark.parametrize("step", STEPS)
def test_probes_go_on(step: timedelta) -> None:
    """A relay whose clock is off answers the credentials of a prober, and the other way round."""
    credential = mint_probe_credential(KEYS, now=NOW, entropy=secrets.token_bytes(7))
    said = decode(credential.ufrag, RouteKeys.from_keyset(KEYS), now=NOW + step)
    assert isinstance(said, Decoded)


def test_a_session_ends_by_the_relays_clock() -> None:
    """Credentials of a day survive an hour; those of an hour are refused by a relay ahead."""
    keys = CredentialKeys.from_keyset(KEYS)

    def at_relay(lifetime: timedelta, step: timedelta) -> Decoded | RejectedUfrag:
        made = mint(keys, region=7, expires_at=NOW + lifetime, entropy=secrets.token_bytes(7))
        return decode(made.ufrag, keys.routes, now=NOW + timedelta(seconds=30) + step)

    hour, day = timedelta(hours=1), timedelta(days=1)
    assert isinstance(at_relay(day, hour), Decoded)
    assert isinstance(at_relay(hour, -hour), Decoded)
    assert at_relay(hour, hour) == RejectedUfrag("expired")


@pytest.mark.parametrize("step", STEPS)
def test_snapshots_are_ordered_by_number_not_by_clock(step: timedelta) -> None:
    """A control plane whose clock was set back is heard; an age is never below zero."""
    older: Plan = plan_of({}, number=4)
    newer = older.model_copy(update={"number": 5, "created_at": older.created_at + step})
    assert supersedes(newer, older)
    assert not supersedes(older, newer)
    early = status_of(2).model_copy(update={"created_at": NOW + step})
    assert age_s(early, NOW) == max(0.0, -step.total_seconds())
