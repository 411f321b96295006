"""What a token may report, and by which proof. No clock, no store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from firsthop_controlplane.access.tokens import Principal
from firsthop_ice.ufrag import Decoded, RouteKeys, decode
from firsthop_steering.feed.measurements import Sample
from firsthop_steering.feed.snapshot import KeySet, Plan
from firsthop_steering.feed.ticket_proof import TicketClaim, read_proof
from firsthop_steering.rtt.sources import KINDS, SourceKind, source_number


class Witness(NamedTuple):
    """The source of a sample, and what may be used only once."""

    source: int
    use: str
    """Ticket or session with the relay; empty if nothing limits the number of samples."""


@dataclass(frozen=True, slots=True)
class SampleEvidence:
    """Checks the samples of one token.

    An edge and an allocator need the ticket of the client, a transceiver needs a session of its
    region. An agent reports its own relay only. Operators may report everything.
    """

    token: str
    role: str
    scope: str | None
    keys: RouteKeys
    region: int | None
    """The wire id of a transceiver's region."""
    _read: dict[str, TicketClaim | None] = field(default_factory=dict)

    @classmethod
    def of(cls, principal: Principal, plan: Plan, keys: KeySet) -> SampleEvidence:
        """The checks for a token, with the plan and the keys in force."""
        regions = {each.id: each.wire_id for each in plan.document.transceiver_regions}
        routes = RouteKeys.from_keyset(keys)
        region = regions.get(principal.scope or "")
        return cls(principal.id, principal.role, principal.scope, routes, region)

    def of_sample(self, sample: Sample, prefix: int) -> Witness | str:
        """The witness of a sample from a client's prefix, or "field: rule" if it is refused."""
        if self.role in ("edge", "allocator"):
            return self._with_ticket(sample, prefix)
        if self.role == "transceiver":
            return self._with_session(sample)
        if self.role == "agent" and sample.relay != self.scope:
            return f"relay: this token is for relay {self.scope}"
        return Witness(source_number(self._kind, self.token), "")

    @property
    def _kind(self) -> SourceKind:
        return next((each for each in KINDS if each == self.role), "operator")

    def _with_ticket(self, sample: Sample, prefix: int) -> Witness | str:
        proof = sample.proof or ""
        if proof not in self._read:
            self._read[proof] = read_proof(proof, self.keys)
        claim = self._read[proof]
        if claim is None:
            return "proof: must be that of a ticket of this deployment"
        if sample.at >= claim.expires_at:
            return "proof: had expired when this was measured"
        if prefix != claim.prefix:
            return "proof: was issued to a client of another network"
        if sample.relay not in claim.relays:
            return "relay: is not a relay of this ticket"
        use = f"{claim.nonce}/{sample.relay}"
        if self.role == "allocator":
            return Witness(source_number("allocator", self.token), use)
        return Witness(source_number("browser", self.token, claim.seat), use)

    def _with_session(self, sample: Sample) -> Witness | str:
        found = decode(sample.session or "", self.keys, now=sample.at)
        if not isinstance(found, Decoded):
            return "session: must be the username fragment of a session in force"
        if found.region != self.region:
            return f"session: is not one of region {self.scope}"
        if sample.relay is None:
            return "relay: is needed"
        use = f"{sample.session}/{sample.relay}"
        return Witness(source_number("transceiver", self.token), use)
