"""RTT samples in the batches in which machines report them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from firsthop_steering.feed.ticket_proof import MAX_PROOF
from firsthop_steering.plan.model import AwareTime, Slug
from firsthop_zones.model import Model

MAX_SAMPLES = 1000
"""Maximum number of samples per batch; decoding a full batch blocks the event loop for 30 ms."""
MAX_RTT_MS = 3000.0
"""Upper bound of a sample; a longer time includes delays outside the path."""
_WIDEST = {4: 24, 6: 48}
"""Shortest accepted prefix lengths, by family; learned latency is kept by these prefixes."""


def _first_address(text: object) -> object:
    """Replaces a prefix by its first address. Raises ValueError if it is shorter than _WIDEST."""
    if not isinstance(text, str) or "/" not in text:
        return text
    network = ip_network(text, strict=False)
    if network.prefixlen < _WIDEST[network.version]:
        raise ValueError(f"a prefix must be /{_WIDEST[network.version]} or longer")
    return str(network.network_address)


ClientAddress = Annotated[IPv4Address | IPv6Address, BeforeValidator(_first_address)]


class Sample(Model):
    """One round trip between a client and a relay, or an unspecified relay of a region."""

    client: ClientAddress = Field(examples=["192.0.2.17", "2001:db8:1::/48"])
    """An address, or a prefix of at least /24 (IPv6: /48)."""
    relay: Slug | None = None
    region: Slug | None = None
    rtt_ms: float = Field(gt=0, le=MAX_RTT_MS, allow_inf_nan=False)
    at: AwareTime
    """When it was measured."""
    proof: str | None = Field(default=None, max_length=MAX_PROOF)
    """The proof of the ticket with which it was measured; required from edges and allocators."""
    session: str | None = Field(default=None, max_length=32)
    """The username fragment of the client's session; required from transceivers."""

    @model_validator(mode="after")
    def _one_end(self) -> Sample:
        if (self.relay is None) == (self.region is None):
            raise ValueError("needs exactly one of relay and region")
        return self


class SampleBatch(Model):
    """What one machine measured since its last batch."""

    batch: str = Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")
    """An id chosen by the sender; a batch with a known id is ignored."""
    samples: tuple[Sample, ...] = Field(min_length=1, max_length=MAX_SAMPLES)


class SamplesTaken(Model):
    """The result of uploading a batch."""

    batch: str
    samples: int
    """Number of samples accepted, without those whose ticket or session was used before; 0 if the
    batch was accepted before."""
    repeated: bool
