"""Which samples a token may report: tickets for edges and allocators, sessions, one relay."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from firsthop_controlplane.access.tokens import Principal
from firsthop_controlplane.api.measurements import samples_of
from firsthop_controlplane.errors import Refused
from firsthop_controlplane.learning.memory import Memory
from firsthop_ice.ufrag import CredentialKeys, mint
from firsthop_steering.feed.measurements import SampleBatch
from firsthop_steering.feed.snapshot import CredentialKey, KeySet
from firsthop_steering.feed.ticket_proof import TicketClaim
from firsthop_steering.rtt.samples import Samples, parse_prefix
from firsthop_steering.rtt.sources import KINDS, kinds_of, source_number
from support.allocator_world import MEDIA, REGIONS, RELAYS
from support.worlds import NOW, plan_of

KEYSET = KeySet(
    number=1,
    lineage="test",
    created_at=NOW,
    signing=5,
    keys=(CredentialKey(id=5, route="ab" * 32, password="cd" * 32, created_at=NOW),),
)
KEYS = CredentialKeys.from_keyset(KEYSET)
PLAN = plan_of({"regions": REGIONS, "relays": RELAYS, "transceiver_regions": MEDIA}, number=1)
HERE, ELSEWHERE = "198.51.100.0/24", "203.0.113.0/24"


def proof(seat: int = 0, nonce: int = 0, prefix: str = HERE) -> str:
    """Of a ticket for Frankfurt and Ashburn."""
    claim = TicketClaim(
        parse_prefix(prefix), seat, f"{nonce:014x}", ("fra-1", "iad-1"), NOW + timedelta(minutes=5)
    )
    return claim.proof(KEYS.routes, KEYS.signing)


def session(region: int) -> str:
    """The username fragment of a session in a transceiver region."""
    until, entropy = NOW + timedelta(minutes=5), bytes(7)
    return mint(KEYS, region=region, expires_at=until, entropy=entropy).ufrag


def reported(
    role: str, *samples: dict[str, Any], scope: str | None = None, memory: Memory | None = None
) -> Samples:
    """What is taken of a batch of one token; it is then used."""
    memory = memory or Memory()
    rows = [{"client": HERE, "relay": "fra-1", "rtt_ms": 9.0, "at": NOW} | row for row in samples]
    batch = SampleBatch.model_validate({"batch": "batch-01", "samples": rows})
    token = Principal("t1", "t1", role, scope, None)
    taken, uses = samples_of(batch, token, PLAN, KEYSET, memory, NOW)
    memory.intake.take("batch", taken, NOW.timestamp(), uses)
    return taken


@pytest.mark.parametrize("role", ["edge", "allocator"])
def test_a_report_counts_only_for_its_ticket(role: str) -> None:
    """Not without one, not for another network or relay, not after it has expired."""
    genuine = proof()
    assert len(reported(role, {"proof": genuine}, {"proof": genuine, "relay": "iad-1"})) == 2
    late = NOW + timedelta(minutes=6)
    for sample, rule in (
        ({}, "proof: must be that of a ticket"),
        ({"proof": genuine[:-1] + "_"}, "proof: must be that of a ticket"),
        ({"proof": genuine, "client": ELSEWHERE}, "proof: was issued to a client of another"),
        ({"proof": genuine, "relay": "gru-1"}, "relay: is not a relay of this ticket"),
        ({"proof": genuine, "relay": None, "region": "fra"}, "relay: is not a relay of this"),
    ):
        with pytest.raises(Refused, match=rule) as refused:
            reported(role, {"proof": genuine}, sample)
        assert refused.value.status == 403
        assert "samples/1/" in str(refused.value)
    sample = {"client": HERE, "relay": "fra-1", "rtt_ms": 9.0, "at": late, "proof": genuine}
    batch = SampleBatch.model_validate({"batch": "batch-01", "samples": [sample]})
    token = Principal("t1", "t1", role, None, None)
    with pytest.raises(Refused, match="had expired"):
        samples_of(batch, token, PLAN, KEYSET, Memory(), late)


def test_a_ticket_counts_once() -> None:
    """However often it is reported, in one batch or in several, through whatever token."""
    memory, genuine = Memory(), {"proof": proof()}
    assert len(reported("edge", genuine, genuine, memory=memory)) == 1
    assert len(reported("edge", genuine, memory=memory)) == 0
    assert len(reported("allocator", genuine, memory=memory)) == 0
    assert len(reported("edge", genuine | {"relay": "iad-1"}, memory=memory)) == 1
    assert len(reported("edge", {"proof": proof(nonce=1)}, memory=memory)) == 1


def test_a_transceiver_reports_its_own_sessions() -> None:
    """Of its region, each once for a relay."""
    memory, mine = Memory(), {"session": session(7)}
    assert len(reported("transceiver", mine, mine, scope="eu", memory=memory)) == 1
    for sample in ({}, {"session": session(300)}, {"session": "A" * 31}):
        with pytest.raises(Refused, match="session: ") as refused:
            reported("transceiver", sample, scope="eu", memory=memory)
        assert refused.value.status == 403


def test_an_agent_reports_its_own_relay() -> None:
    """As often as it has samples."""
    assert len(reported("agent", {}, {}, scope="fra-1")) == 2
    for sample in ({"relay": "fra-2"}, {"relay": None, "region": "fra"}):
        with pytest.raises(Refused, match="this token is for relay fra-1"):
            reported("agent", sample, scope="fra-1")


def test_a_sample_carries_its_source() -> None:
    """Kind and token; a browser also its seat, for those of one edge are not one client."""
    for role, sample, scope, expected in (
        ("edge", {"proof": proof(seat=6)}, None, source_number("browser", "t1", 6)),
        ("allocator", {"proof": proof(seat=6)}, None, source_number("allocator", "t1")),
        ("transceiver", {"session": session(7)}, "eu", source_number("transceiver", "t1")),
        ("agent", {}, "fra-1", source_number("agent", "t1")),
        ("admin", {}, None, source_number("operator", "t1")),
    ):
        assert reported(role, sample, scope=scope).sources.tolist() == [expected]
    numbers = [source_number(kind, "t1") for kind in KINDS]
    assert kinds_of(np.array(numbers)).tolist() == [*range(len(KINDS))]
