"""Measurement tickets: relays for a browser to check, and the proof for its report. Pure.

The credential is a probe credential: relays answer its checks themselves, so the browser measures
the round trip to the relay, without the path from there to a transceiver. The proof binds the
report to the client's prefix and to the relays of the ticket.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from firsthop_allocator.allocations.answer_json import utc_text
from firsthop_allocator.allocations.exploring import drawn, target_of
from firsthop_allocator.allocations.route import AllocationRefused
from firsthop_allocator.allocations.state import AllocatorState
from firsthop_geodata.addresses import Address
from firsthop_geodata.prefixes import normalise
from firsthop_ice import ufrag
from firsthop_ice.candidates import candidate_lines
from firsthop_ice.ufrag import Credential, CredentialKeys, mint_probe
from firsthop_steering.decision.model import Candidate, Decision
from firsthop_steering.feed.ticket_proof import TicketClaim, seat_of
from firsthop_steering.plan.model import Relay, Service
from firsthop_steering.rtt.samples import prefix_of

NEAREST = 4
"""Number of the client's most preferred regions of which one relay each is measured."""
RACED = NEAREST + 1
"""Maximum number of relays of a ticket. The last is of one more region: of the client's exploration
target, else any region, which reveals clients that the geo data locate wrongly."""
LIFETIME = timedelta(minutes=5)
"""Validity of a ticket: time to load a page and measure. The expiry is rounded up to a multiple
of 16 s."""
ENTROPY_LENGTH = 2 + ufrag.ENTROPY_LENGTH

_ANSWER = (
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-lite\r\n"
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n"
    "a=sctp-port:5000\r\na=setup:active\r\na=fingerprint:sha-256 {fingerprint}\r\n"
    "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\n{candidates}a=end-of-candidates\r\n"
)
"""An SDP answer (RFC 8841) that leaves it to the relay to start DTLS (RFC 8842 §5.3). The relay
never does, so the browser sends ICE checks and nothing else."""
_NOBODY = ":".join(["00"] * 32)

Raced = tuple[Relay, Candidate]


@dataclass(frozen=True, slots=True)
class Ticket:
    """A credential, and the relays to check with it, in preference order."""

    credential: Credential
    proof: str
    relays: tuple[tuple[Relay, float], ...]
    """Each with the expected round trip in ms."""

    def to_json(self) -> dict[str, Any]:
        """The body of the answer."""
        return {
            "expires_at": utc_text(self.credential.expires_at),
            "username_fragment": self.credential.ufrag,
            "password": self.credential.password,
            "proof": self.proof,
            "relays": [self._relay(*each) for each in self.relays],
        }

    def _relay(self, relay: Relay, rtt_ms: float) -> dict[str, Any]:
        udp = relay.model_copy(update={"tcp_port": None})
        lines = "".join(f"a={line}\r\n" for line in candidate_lines([udp]))
        sdp = _ANSWER.format(
            fingerprint=_NOBODY,
            ufrag=self.credential.ufrag,
            password=self.credential.password,
            candidates=lines,
        )
        return {"id": relay.id, "region": relay.region, "rtt_ms": rtt_ms, "sdp": sdp}


def ticket(
    state: AllocatorState, service: Service, address: Address, *, now: datetime, entropy: bytes
) -> Ticket | AllocationRefused:
    """A ticket for the client at `address`; `entropy` is ENTROPY_LENGTH random bytes."""
    if len(entropy) != ENTROPY_LENGTH:
        raise ValueError(f"entropy must be {ENTROPY_LENGTH} bytes, not {len(entropy)}")
    decision = state.steering.decide(service, state.steering.topology.client(address))
    ignore_health = decision.ranking.outcome == "open"
    firsts: list[Raced] = []
    for candidate in decision.preferences:
        reachable = state.relays_at(
            service, candidate.site.id, decision.bucket, ignore_health=ignore_health
        )
        firsts += [(each.relay, candidate) for each in reachable[:1]]
    if not firsts:
        return AllocationRefused(
            "no_relay", None, f"service {service.id}: no relay can be measured"
        )
    near, rest = firsts[:NEAREST], firsts[NEAREST:]
    if rest:
        near.append(_another(state, decision, near, rest, int.from_bytes(entropy[:2], "big")))
    try:
        credential = mint_probe(state.keys, expires_at=now + LIFETIME, entropy=entropy[2:])
    except ValueError as error:  # only the time can be out of range
        return AllocationRefused("clock", None, f"this allocator's clock cannot be right: {error}")
    relays = tuple((relay, each.rtt_ms) for relay, each in near)
    claim = TicketClaim(
        prefix=prefix_number(address),
        seat=_seat(address, state.keys),
        nonce=entropy[2:].hex(),
        relays=tuple(relay.id for relay, _ in relays),
        expires_at=credential.expires_at,
    )
    return Ticket(credential, claim.proof(state.keys.routes, state.keys.signing), relays)


def prefix_number(address: Address) -> int:
    """The number of a client's /24 or /48."""
    family, key, _ = normalise(address)
    return prefix_of(family, key)


def _seat(address: Address, keys: CredentialKeys) -> int:
    family, key, _ = normalise(address)
    return seat_of(key if family == 4 else key >> 8, keys.routes, keys.signing)


def _another(
    state: AllocatorState, decision: Decision, near: list[Raced], rest: list[Raced], chance: int
) -> Raced:
    """A relay of one more region: of the client's exploration target if it may be explored now,
    else of one of `rest`. `chance` is 16 random bits."""
    target = target_of(state, decision)
    if target is not None:
        held = {candidate.site.id for _, candidate in near}
        for (_, relay), candidate in drawn(state, decision, target, held, [chance / 2**16]):
            return relay, candidate
    return rest[chance % len(rest)]
