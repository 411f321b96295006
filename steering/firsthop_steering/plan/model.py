"""The objects of a plan: regions, relays, transceivers, services, overrides.

One schema serves the admin API, the declarative document, revisions and snapshots, so each field is
described once (zones and records: `firsthop_zones.model`). Rules between objects (references,
uniqueness) are in `firsthop_steering.plan.document`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from firsthop_ice.desired_state import State as State
from firsthop_zones.model import DomainName, Model

Slug = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="Short name: 1 to 63 lower-case letters, digits and inner hyphens.",
        examples=["fra"],
    ),
]
Latitude = Annotated[float, Field(ge=-90, le=90, description="Degrees north.")]
Longitude = Annotated[float, Field(ge=-180, le=180, description="Degrees east.")]
Weight = Annotated[
    int,
    Field(
        ge=0,
        le=100,
        description="Of a region: per cent that it keeps of the clients who reach it in their"
        " preference order. Of a relay or transceiver: its share of its region's clients, relative"
        " to the weights of the others there. 0: no new clients.",
    ),
]
HttpStatus = Annotated[int, Field(ge=100, le=599)]
Port = Annotated[int, Field(ge=1, le=65535)]
WireId = Annotated[
    int, Field(ge=1, le=65535, description="16-bit id inside credentials; never reused.")
]

_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?"
    r"([Zz]|[-+][0-9]{2}:[0-9]{2})"
)


def _no_number(given: object) -> object:
    """Refuses what ipaddress and datetime would read as a value: false as 0.0.0.0, 0 as 1970."""
    if isinstance(given, int | float | bytes):
        raise ValueError("must be text")
    return given


def _network(given: object) -> object:
    if isinstance(given, str):
        ip_network(given)  # its message is better than that of a union
    return _no_number(given)


def _time(given: object) -> object:
    """Refuses also text that pydantic would read as seconds since 1970."""
    if not isinstance(given, str):
        return _no_number(given)
    if not _RFC3339.fullmatch(given):
        rule = "must be a time with its offset from UTC (RFC 3339), like 2026-12-31T18:00:00Z"
        raise ValueError(rule)
    return datetime.fromisoformat(given.upper())


MIN_TIME = datetime(1, 1, 2, tzinfo=UTC)
MAX_TIME = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""Bounds of a time: the database reads the very ends of the calendar as infinities, and other time
zones have no name for them."""


def _bounded(time: datetime) -> datetime:
    if not MIN_TIME <= time <= MAX_TIME:
        raise ValueError(f"must be from {MIN_TIME.isoformat()} to {MAX_TIME.isoformat()}")
    return time


Ipv4 = Annotated[IPv4Address, BeforeValidator(_no_number)]
Ipv6 = Annotated[IPv6Address, BeforeValidator(_no_number)]
IpAddress = Annotated[IPv4Address | IPv6Address, BeforeValidator(_no_number)]
Cidr = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
AwareTime = Annotated[AwareDatetime, BeforeValidator(_time), AfterValidator(_bounded)]


class Region(Model):
    """A location of relays."""

    id: Slug
    name: str = Field(default="", max_length=200)
    latitude: Latitude
    longitude: Longitude
    weight: Weight = 100
    bias_ms: float = Field(default=0.0, ge=-500, le=500, allow_inf_nan=False)
    """Milliseconds subtracted from this region's score: a positive bias attracts clients."""
    state: State = State.ACTIVE


ProbeKind = Literal["stun", "tcp", "tls", "http", "https", "dns", "icmp", "turn", "path"]
_HTTP: tuple[ProbeKind, ...] = ("http", "https")
_TLS: tuple[ProbeKind, ...] = ("tls", "https")
_PROBE_FIELDS: dict[str, tuple[ProbeKind, ...]] = {
    "port": ("stun", "tcp", "tls", "http", "https", "dns", "turn", "path"),
    "path": _HTTP,
    "expect_status": _HTTP,
    "expect_body": _HTTP,
    "host": ("http", "https", "tls"),
    "verify": _TLS,
    "min_valid_days": ("tls",),
    "dns_name": ("dns",),
    "transceiver_region": ("path",),
}
"""Field → the kinds of probe that use it; fields used by all kinds are not listed."""


Family = Literal["ipv4", "ipv6"]
Liveness = Literal["up", "down", "unknown"]
"""`unknown` means not enough checks; it is never treated as `down`."""


class Forced(Model):
    """A verdict forced by an operator; it overrides measurement."""

    verdict: Literal["up", "down"]
    until: AwareTime | None = None
    """When it expires; null: it holds until the operator removes it."""
    note: str = Field(default="", max_length=1000)

    def active(self, now: datetime) -> bool:
        """Whether it still holds at `now`."""
        return self.until is None or now < self.until


class Probe(Model):
    """How every vantage checks one relay's health."""

    kind: ProbeKind = "stun"
    port: Port | None = None
    """Default: the UDP port for stun, turn and path, 53 for dns, else the TCP port."""
    path: str = Field(default="/", max_length=1024, pattern=r"^/[!-~]*$")
    expect_status: (
        HttpStatus | Annotated[tuple[HttpStatus, ...], Field(min_length=1, max_length=20)]
    ) = 200
    """For http and https: the status code of a healthy relay, or a list of them."""
    expect_body: str | None = Field(default=None, min_length=1, max_length=1000)
    """For http and https: text that the first 64 KiB of the body must contain (as UTF-8)."""
    host: str | None = Field(
        default=None, max_length=253, pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$"
    )
    """The Host header of http and https, and the server name (SNI) of TLS."""
    verify: bool = False
    """For tls and https: the prober's system must trust the certificate, and it must be valid for
    `host`, or for the address if there is no `host`."""
    min_valid_days: int = Field(default=0, ge=0, le=3650)
    """For tls: the check fails from this many days before the certificate expires; 0: from its
    expiry."""
    dns_name: Annotated[DomainName | None, Field(validate_default=True)] = None
    """For dns: the name of which an A record is requested."""
    transceiver_region: Annotated[Slug | None, Field(validate_default=True)] = None
    """For path: the transceiver region to which the relay forwards the check; a transceiver there
    answers it."""
    interval_s: float = Field(default=1.0, ge=0.1, le=3600)
    timeout_s: float = Field(default=0.8, ge=0.05, le=60)
    rise: int = Field(default=2, ge=1, le=100)
    """Consecutive successes that change a prober's view to up."""
    fall: int = Field(default=3, ge=1, le=100)
    """Consecutive failures that change a prober's view to down."""
    families: tuple[Family, ...] | None = Field(default=None, min_length=1, max_length=2)
    """The families of the addresses that are in service: checked, each with its own verdict, and
    answered; null: all."""
    slow_start_s: float = Field(default=10.0, ge=0, le=3600)
    """Seconds over which a relay that returns from being down regains its full share."""

    @field_validator(*_PROBE_FIELDS)
    @classmethod
    def _read_by_its_kind(cls, value: object, about: ValidationInfo) -> object:
        kind, name = about.data.get("kind"), str(about.field_name)
        if kind == "dns" and name == "dns_name" and value is None:
            raise ValueError("a dns probe needs a name to query")
        if kind == "path" and name == "transceiver_region" and value is None:
            raise ValueError("a path probe needs a transceiver region")
        given = value != cls.model_fields[name].default
        if given and kind is not None and kind not in _PROBE_FIELDS[name]:
            raise ValueError(
                f"does not apply to {kind} probes; only to {', '.join(_PROBE_FIELDS[name])}"
            )
        return value


class Relay(Model):
    """One address that forwards media, in one region."""

    id: Slug
    region: Slug
    kind: Literal["relay", "turn"] = "relay"
    ipv4: Ipv4 | None = None
    ipv6: Ipv6 | None = None
    udp_port: Port = 3478
    tcp_port: Port | None = None
    weight: Weight = 100
    capacity: int | None = Field(default=None, ge=1)
    """Sessions it can carry; null: not known."""
    state: State = State.ACTIVE
    failure_domain: str | None = Field(default=None, max_length=63)
    """Relays that fail together (rack, site, provider); answers prefer distinct domains."""
    probe: Probe = Probe()
    forced: Forced | None = None

    @property
    def families_in_service(self) -> tuple[Family, ...]:
        """The families of the addresses that are checked and answered, IPv4 first.

        Never empty: a relay has an address, and its probe may only list families that it has.
        """
        listed = self.probe.families
        had: dict[Family, object] = {"ipv4": self.ipv4, "ipv6": self.ipv6}
        return tuple(
            family
            for family, address in had.items()
            if address is not None and (listed is None or family in listed)
        )

    @model_validator(mode="after")
    def _probed_as_what_it_is(self) -> Relay:
        """Replaces a stun probe of a TURN server, which does not know our keys and never answers
        it, with a turn probe."""
        if self.kind == "turn" and self.probe.kind == "stun":
            # A `before` validator would pass on Python values instead of JSON.
            object.__setattr__(self, "probe", self.probe.model_copy(update={"kind": "turn"}))
        return self

    @model_validator(mode="after")
    def _reachable(self) -> Relay:
        if self.ipv4 is None and self.ipv6 is None:
            raise ValueError("a relay needs an ipv4 or an ipv6 address")
        by_tcp = self.probe.kind not in ("stun", "dns", "icmp", "turn", "path")
        if by_tcp and self.probe.port is None and self.tcp_port is None:
            raise ValueError(f"a {self.probe.kind} probe needs probe.port or tcp_port")
        for family in self.probe.families or ():
            if getattr(self, family) is None:
                raise ValueError(f"probe.families names {family}, but there is no {family} address")
        return self


class TransceiverRegion(Model):
    """A location where sessions end; credentials contain its wire id."""

    id: Slug
    wire_id: WireId | None = None
    """Assigned at random by the control plane when absent."""
    latitude: Latitude
    longitude: Longitude
    weight: Weight = 100
    bias_ms: float = Field(default=0.0, ge=-500, le=500, allow_inf_nan=False)
    capacity: int | None = Field(default=None, ge=1)
    """Sessions that its transceivers may carry together; null: no limit besides their own."""
    state: State = State.ACTIVE
    networks: tuple[Cidr, ...] = Field(default=(), max_length=64)
    """Networks that must contain all addresses of a transceiver that registers itself. If there are
    none, transceivers cannot register."""


class Transceiver(Model):
    """One server that terminates media, in a transceiver region."""

    id: Slug
    wire_id: WireId | None = None
    """Assigned at random by the control plane when absent."""
    region: Slug
    host: IpAddress
    port: Port
    signalling_ipv4: Ipv4 | None = None
    signalling_ipv6: Ipv6 | None = None
    signalling_port: Port | None = None
    weight: Weight = 100
    capacity: int | None = Field(default=None, ge=1)
    """Sessions it can carry; null: the number that it reports, if any."""
    state: State = State.ACTIVE
    registered: bool = False
    """Whether it registered itself. It may then change its addresses and capacity, and applying a
    document without it does not delete it."""


class Service(Model):
    """A domain name whose answers are steered."""

    id: Slug
    name: DomainName
    pool: Literal["relays", "transceivers"] = "relays"
    ttl: int = Field(default=30, ge=0, le=86400)
    """Largest TTL in seconds. An answer's TTL is shorter, down to `ttl_min`, if checks could change
    the answer earlier."""
    ttl_min: int | None = Field(default=None, ge=0, le=86400)
    """Lower bound of the TTL, however soon checks could change the answer; null: half of `ttl`,
    rounded up, so that frequent checks do not make every resolver ask every few seconds."""
    ttl_max: int = Field(default=300, ge=1, le=86400)
    """Upper bound of `ttl`."""
    answers: int = Field(default=1, ge=1, le=8)
    min_candidates: int = Field(default=1, ge=1, le=8)
    """Number of failure domains that each group of clients must have: the clients of each override
    form a group, and so do all others. A document that cannot provide them is refused; while fewer
    are up, the status has a warning."""
    regions: tuple[Slug, ...] | None = None
    """Regions of the pool that may answer; null: all."""
    transceiver_regions: tuple[Slug, ...] | None = None
    """Regions where sessions of this service may end; null: all."""
    when_all_down: Literal["open", "closed", "fallback"] = "open"
    """If no relay is up and takes new clients: open ignores health, and drains too if operators
    drain all (what is disabled stays out); closed answers nothing; fallback: with `fallback`."""
    fallback: tuple[IpAddress, ...] = Field(default=(), max_length=8)
    families: Literal["separate", "together"] = "separate"
    """separate: IPv4 and IPv6 addresses are each of the nearest region that has such addresses, so
    clients with one family are always served. together: both are of the nearest region, and none of
    a family that it lacks."""
    ecs: bool = True
    """Whether EDNS client subnet is used for this name (RFC 7871)."""
    view: Literal["global", "local"] = "global"
    """global: an edge uses the verdict of all vantages. local: the verdict of the vantage with the
    name of the edge's own region takes precedence."""

    @model_validator(mode="after")
    def _coherent(self) -> Service:
        if self.when_all_down == "fallback" and not self.fallback:
            raise ValueError("when_all_down: fallback needs at least one address in fallback")
        if not self.shortest_ttl <= self.ttl <= self.ttl_max:
            raise ValueError("ttl must lie within ttl_min and ttl_max")
        return self

    @property
    def answer_pool(self) -> Literal["relays", "signalling"]:
        """The pool of a topology whose endpoints answer: relays, or signalling addresses."""
        return "relays" if self.pool == "relays" else "signalling"

    @property
    def shortest_ttl(self) -> int:
        """`ttl_min`, or its default."""
        return (self.ttl + 1) // 2 if self.ttl_min is None else self.ttl_min


_SIX_TO_FOUR = IPv6Network("2002::/16")


class Override(Model):
    """A rule for some clients; the most specific wins: CIDR, then ASN, country, continent."""

    id: Slug
    cidr: Cidr | None = None
    asn: int | None = Field(default=None, ge=1, le=2**32 - 1)
    country: str | None = Field(default=None, pattern=r"^[A-Z]{2}$")
    continent: Literal["AF", "AN", "AS", "EU", "NA", "OC", "SA"] | None = None
    regions: tuple[Slug, ...] = Field(min_length=1)
    mode: Literal["prefer", "only", "avoid"]
    """prefer: these regions first, in this order; only: these and no others, in this order; avoid:
    never these."""
    service: Slug | None = None
    """The service to which it applies; null: all."""
    expires_at: AwareTime | None = None
    note: str = Field(default="", max_length=1000)

    @model_validator(mode="after")
    def _one_match(self) -> Override:
        matches = (self.cidr, self.asn, self.country, self.continent)
        if sum(match is not None for match in matches) != 1:
            raise ValueError("needs exactly one of cidr, asn, country, continent")
        if isinstance(self.cidr, IPv6Network) and self.cidr.prefixlen > 64:
            raise ValueError("cidr: an IPv6 network must be /64 or wider")
        if isinstance(self.cidr, IPv6Network) and self.cidr.subnet_of(_SIX_TO_FOUR):
            raise ValueError("cidr: 6to4 clients are IPv4 clients; give their IPv4 network")
        return self

    def active(self, now: datetime) -> bool:
        """Whether it still holds at `now`."""
        return self.expires_at is None or now < self.expires_at
