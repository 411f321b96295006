"""What probers, agents and transceivers say to the control plane, and what probers are to check."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from pydantic import AwareDatetime, Field

from firsthop_steering.plan.model import Family, Liveness, Port, ProbeKind, Slug
from firsthop_zones.model import Model


class ProbeTarget(Model):
    """One relay to check, with all that a prober needs to know of it.

    The fields from `path` to `fall` are those of `firsthop_steering.plan.model.Probe`.
    """

    relay: Slug
    family: Family = "ipv4"
    """Of `address`: what is found is said of this family alone."""
    kind: ProbeKind
    address: IPv4Address | IPv6Address
    port: Port
    """An icmp check uses none."""
    path: str = "/"
    expect_status: int = 200
    expect_body: str | None = None
    host: str | None = None
    verify: bool = False
    min_valid_days: int = 0
    dns_name: str | None = None
    transceiver_region: str | None = None
    interval_s: float = Field(ge=0.1, le=3600)
    timeout_s: float = Field(ge=0.05, le=60)
    rise: int = Field(ge=1)
    fall: int = Field(ge=1)
    ufrag: str | None = None
    """For stun: a credential minted for the reserved region wire id 0, and its password; for path,
    one of a session in the transceiver region; for turn, username and password."""
    password: str | None = None
    nudge: int = Field(default=0, ge=0)
    """When it is another number than before, check at once: something may have happened. 0 asks
    nothing."""


class ProbeTargets(Model):
    """All that one prober is to check; it goes on with the last ones while nobody answers."""

    targets: tuple[ProbeTarget, ...]


class VantageView(Model):
    """How one address of a relay looks from one prober, after rise and fall."""

    relay: Slug
    family: Family = "ipv4"
    verdict: Liveness
    since: AwareDatetime
    checked_at: AwareDatetime
    duration_ms: float | None = Field(default=None, ge=0)
    """How long the last successful check took."""
    certificate_ends: AwareDatetime | None = None
    """When the certificate expires that the last successful check of kind tls was shown."""
    reason: str = Field(default="", max_length=200)
    """Why the last check failed; empty when it succeeded."""


class ProbeReport(Model):
    """Everything that one prober sees now; each report replaces the one before."""

    prober: Slug
    vantage: Slug
    """Name of the place it looks from."""
    sent_at: AwareDatetime
    views: tuple[VantageView, ...] = Field(max_length=20_000)


class Report(Model):
    """What a machine says of itself: load, and whether it wants no new sessions."""

    sequence: int = Field(ge=0)
    """Rises with every report of one start."""
    sent_at: AwareDatetime
    sessions: int = Field(default=0, ge=0)
    cpu: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    """Busy share of the host's processors, 0 to 1."""
    draining: bool = False
    stops_at: AwareDatetime | None = None
    """When it goes down; it takes no new sessions until then."""


class TransceiverReport(Report):
    """What a transceiver says of itself; nobody else speaks for it."""

    capacity: int | None = Field(default=None, ge=1)
    """Sessions it can carry; null: as the plan says."""


class RelayReport(Report):
    """What a relay's own agent says of it."""

    packets_per_second: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    bits_per_second: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    drops_per_second: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    crashed: bool = False
    """The agent finds nobody where the relay should be."""
