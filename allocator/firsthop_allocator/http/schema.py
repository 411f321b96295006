"""Requests and answers as pydantic models, from which /openapi.json is made."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
)

from firsthop_allocator.allocations.addresses import MAX_LENGTH, parse_host
from firsthop_allocator.allocations.allocation import (
    DEFAULT_TTL_S,
    MAX_EXCLUDED,
    MAX_TTL_S,
    MIN_TTL_S,
    ClientSource,
)
from firsthop_geodata.addresses import Address
from firsthop_steering.decision import availability
from firsthop_steering.feed.measurements import MAX_RTT_MS
from firsthop_steering.feed.ticket_proof import MAX_PROOF
from firsthop_steering.plan.model import Slug

MAX_SAMPLES = 16
"""Maximum number of samples of one report; a ticket names five relays."""


def _host(value: object) -> Address:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return parse_host(value)


By = Annotated[
    availability.AvailabilitySource,
    Field(description="The source of the availability; local: the vantage at the edge."),
]
_HOST_SCHEMA = {"type": "string", "maxLength": MAX_LENGTH, "examples": ["198.51.100.7"]}
Host = Annotated[Any, BeforeValidator(_host), WithJsonSchema(_HOST_SCHEMA)]
ServiceName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=254,
        pattern=r"^[!-~]+$",
        description="Id or domain name of the service; default: the first of pool relays, by id.",
        examples=["relay.edge.example."],
    ),
]


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )


class RegionsQuery(_Strict):
    """What GET /v1/regions takes in its query."""

    service: ServiceName | None = None
    client_ip: Host | None = None
    """The client's address, which needs a token; default: the address that the request is from."""


class RaceBody(RegionsQuery):
    """What POST /v1/races takes."""


class AllocationBody(RegionsQuery):
    """What POST /v1/allocations takes; every field may be left out or null."""

    ttl: Annotated[int, Field(ge=MIN_TTL_S, le=MAX_TTL_S)] | None = DEFAULT_TTL_S
    """Seconds for which the credential opens new flows; its expiry is rounded up to a multiple of
    16 s."""
    transceiver_region: Slug | None = None
    """The region of the session's transceiver; default: steered."""
    exclude_relays: Annotated[list[Slug], Field(max_length=MAX_EXCLUDED)] | None = None
    """Relays that the client found to be unreachable."""

    @property
    def excluded(self) -> frozenset[str]:
        """`exclude_relays` as a set."""
        return frozenset(self.exclude_relays or ())


class SessionQuery(RegionsQuery):
    """The query of POST and PATCH of /v1/sessions; PATCH ignores `transceiver_region`."""

    ttl: Annotated[int, Field(ge=MIN_TTL_S, le=MAX_TTL_S, strict=False)] = DEFAULT_TTL_S
    """Seconds for which the credential opens new flows; its expiry is rounded up to a multiple of
    16 s."""
    transceiver_region: Slug | None = None
    """The region of the session's transceiver; default: steered."""
    exclude_relays: Annotated[str, Field(max_length=MAX_EXCLUDED * 64)] = ""
    """Comma-separated ids of relays that the client found to be unreachable."""

    @property
    def excluded(self) -> frozenset[str]:
        """`exclude_relays` as a set."""
        return frozenset(filter(None, self.exclude_relays.split(",")))


class MeasuredRelay(_Strict):
    """The shortest round trip of several checks to one relay."""

    relay: Slug
    rtt_ms: Annotated[float, Field(gt=0, le=MAX_RTT_MS, allow_inf_nan=False)]


class SamplesBody(_Strict):
    """What POST /v1/samples takes; with any media type, as beacons are sent as text/plain."""

    proof: Annotated[str, Field(max_length=MAX_PROOF)]
    """The ticket's proof."""
    samples: Annotated[list[MeasuredRelay], Field(min_length=1, max_length=MAX_SAMPLES)]

    @field_validator("samples")
    @classmethod
    def _each_once(cls, samples: list[MeasuredRelay]) -> list[MeasuredRelay]:
        if len({each.relay for each in samples}) < len(samples):
            raise ValueError("must not name a relay twice")
        return samples


class ClientPlace(BaseModel):
    """The client and its location; coordinates are null if it cannot be located."""

    ip: str
    country: str | None
    latitude: float | None
    longitude: float | None
    source: ClientSource


class OfferedRelay(BaseModel):
    """One relay to send media to; rank 1 is the best."""

    id: str
    region: str
    ipv4: str | None
    ipv6: str | None
    udp_port: int
    tcp_port: int | None
    rank: int
    rtt_ms: float
    distance_km: float | None
    by: By
    since: datetime | None


class IceParameters(BaseModel):
    """RFC 8839 §5.3 and §5.4."""

    username_fragment: str = Field(min_length=4, max_length=32)
    password: str = Field(min_length=22, max_length=256)
    ice_lite: bool


class IceCandidate(BaseModel):
    """RTCIceCandidateInit in snake case."""

    candidate: str
    sdp_mid: str
    sdp_mline_index: int
    username_fragment: str


class IceServer(BaseModel):
    """RTCIceServer; the credential expires with the allocation."""

    urls: list[str]
    username: str
    credential: str


class DecisionNote(BaseModel):
    """The decision's plan number, status number, and reason."""

    plan: int
    status: int
    reason: str


class AllocationNote(DecisionNote):
    """The decision's plan number, status number, reason, and explored regions."""

    explored: list[Slug]
    """Regions of the last relays, which are offered only to be measured, since they may be better
    than expected; usually empty."""


class AllocationAnswer(BaseModel):
    """What POST /v1/allocations gives."""

    id: str
    created_at: datetime
    expires_at: datetime
    ttl: int
    client: ClientPlace
    relays: list[OfferedRelay]
    """Empty only if only TURN servers can be offered."""
    transceiver_region: str
    ice_parameters: IceParameters
    candidates: list[IceCandidate]
    sdp: list[str]
    ice_servers: list[IceServer]
    """TURN servers of the regions that the client prefers; empty if the plan has none."""
    key_id: int
    decision: AllocationNote


class RelayState(BaseModel):
    """One relay of a region: configured state, verdict, and whether answers may contain it."""

    id: str
    state: Literal["active", "draining", "disabled"]
    verdict: Literal["up", "down", "unknown"]
    by: By
    since: datetime | None
    share: int
    """Per cent of its weight that it has; below 100 during slow start after it was down."""
    draining: bool
    answers: bool
    """Whether answers may contain it now."""
    answers_ipv4: bool
    answers_ipv6: bool


class RankedRegion(BaseModel):
    """One region, as ranked for the client."""

    id: str
    rank: int
    chosen: bool
    eligible: bool
    reason: str
    rtt_ms: float
    rtt_source: str
    distance_km: float | None
    price_ms: float
    charged_ms: float
    score_ms: float
    weight: int
    relays: list[RelayState]


class RegionsAnswer(BaseModel):
    """What GET /v1/regions gives."""

    service: str
    client: ClientPlace
    decision: DecisionNote
    regions: list[RankedRegion]


class RacedRelay(BaseModel):
    """One relay to measure."""

    id: str
    region: str
    rtt_ms: float
    """The expected round trip."""
    sdp: str
    """The SDP answer for a peer connection that offers one data channel; use a separate peer
    connection for each relay."""


class RaceAnswer(BaseModel):
    """Relays to measure, the credential for the checks, and the proof for the report."""

    expires_at: datetime
    username_fragment: str
    password: str
    proof: str
    """Binds the report to the client's network and to these relays."""
    relays: list[RacedRelay]


class SamplesAnswer(BaseModel):
    """The acceptance of a report."""

    samples: int
    """Number of samples that were accepted: all of the report."""


class FieldFault(BaseModel):
    """A field that is at fault."""

    field: str
    rule: str


class ProblemAnswer(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[FieldFault] | None = None
    """Present if fields are at fault."""
