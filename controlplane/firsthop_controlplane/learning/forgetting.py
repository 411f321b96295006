"""Which reports are to be forgotten. No clock, no store."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

import numpy as np
from pydantic import AwareDatetime, Field, field_validator, model_validator

from firsthop_steering.arrays import Mask
from firsthop_steering.rtt.ledger import LedgerRows
from firsthop_steering.rtt.samples import prefix_of
from firsthop_steering.rtt.sources import (
    KINDS,
    SourceKind,
    kinds_of,
    token_number,
    tokens_of,
)
from firsthop_zones.model import Model

_SHORTEST = {4: 24, 6: 48}


class ReportSelector(Model):
    """The reports that have all given properties; at least one must be given."""

    token: str | None = Field(default=None, min_length=1, max_length=100)
    """The id of the token that sent them, or its name; the id also of a token that was deleted."""
    source: SourceKind | None = None
    """The kind of source."""
    prefix: str | None = Field(default=None, max_length=64, examples=["192.0.2.0/24"])
    """A network of clients, at most a /24 (IPv6: /48) long."""
    since: AwareDatetime | None = None
    """When they arrived: then or later."""

    @field_validator("prefix")
    @classmethod
    def _whole(cls, prefix: str | None) -> str | None:
        if prefix is not None:
            network = ip_network(prefix)
            if network.prefixlen > _SHORTEST[network.version]:
                raise ValueError(f"must be /{_SHORTEST[network.version]} or shorter")
        return prefix

    @model_validator(mode="after")
    def _limited(self) -> ReportSelector:
        if not self.model_dump(exclude_none=True):
            raise ValueError("needs at least one of token, source, prefix and since")
        return self

    def mask(self, rows: LedgerRows) -> Mask:
        """Mask of the rows that are selected; `token` must be an id."""
        chosen = np.ones(len(rows), dtype=bool)
        if self.token is not None:
            chosen &= tokens_of(rows.sources) == token_number(self.token)
        if self.source is not None:
            chosen &= kinds_of(rows.sources) == KINDS.index(self.source)
        if self.prefix is not None:
            first, last = _numbers(ip_network(self.prefix))
            chosen &= (rows.prefixes >= np.uint64(first)) & (rows.prefixes <= np.uint64(last))
        if self.since is not None:
            chosen &= rows.at >= self.since.timestamp()
        return chosen


class ReportsForgotten(Model):
    """The result of forgetting."""

    reports: int
    """Number of reports that were removed."""


def _numbers(network: IPv4Network | IPv6Network) -> tuple[int, int]:
    """The numbers of the first and last prefix in a network."""
    ends = int(network.network_address), int(network.broadcast_address)
    if network.version == 4:
        return prefix_of(4, ends[0]), prefix_of(4, ends[1])
    return prefix_of(6, ends[0] >> 64), prefix_of(6, ends[1] >> 64)
