"""Models of zones and records as operators write them.

One schema serves the admin API, the declarative document, zone files, revisions and snapshots.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from firsthop_zones.names import LONGEST_TEXT
from firsthop_zones.rdata import Rdata, domain_name, parse_rdata
from firsthop_zones.record_types import PATTERN, canonical_type

Ttl = Annotated[int, Field(ge=0, le=2**31 - 1, description="Seconds (RFC 2181 §8: 31 bits).")]
DomainName = Annotated[
    str,
    Field(max_length=LONGEST_TEXT, examples=["relay.edge.example."]),
    AfterValidator(domain_name),
]

LONGEST_RDATA = 4 * 65536
"""Characters in which every octet of the longest RDATA can be written as `\\DDD`, with quotes."""
RecordType = Annotated[
    str,
    Field(
        description="Mnemonic of the type, or TYPE and its number (RFC 3597 §5).",
        examples=["A", "HTTPS", "TYPE65280"],
        json_schema_extra={"pattern": PATTERN},
    ),
    AfterValidator(canonical_type),
]


class Model(BaseModel):
    """A frozen value; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Record(Model):
    """One static record of a zone, in presentation form."""

    owner: DomainName
    type: RecordType
    ttl: Ttl = 300
    rdata: str = Field(min_length=1, max_length=LONGEST_RDATA)

    @cached_property
    def parsed(self) -> Rdata:
        """The data in wire form, parsed only once, when the record is created."""
        return parse_rdata(self.type, self.rdata)

    @model_validator(mode="after")
    def _readable(self) -> Record:
        _ = self.parsed
        return self


class Zone(Model):
    """A zone for which edges are authoritative; its serial is the plan's number."""

    apex: DomainName
    primary: DomainName
    """Host name of the primary server (SOA MNAME)."""
    contact: DomainName
    """Mailbox of the person responsible, as a domain name (SOA RNAME)."""
    refresh: Ttl = 7200
    retry: Ttl = 900
    expire: Ttl = 1209600
    minimum: Ttl = 60
    """TTL of negative answers (RFC 2308 §4)."""
    ttl: Ttl = 3600
    """TTL of the SOA record."""
    name_servers_ttl: Ttl | None = None
    """TTL of the apex's NS records; null: `ttl`."""
    name_servers: tuple[DomainName, ...] = Field(min_length=1, max_length=13)
    records: tuple[Record, ...] = ()


class SteeredName(Protocol):
    """The fields of a service that zones need: a name that steering answers."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str:
        """The domain name in canonical text."""
