"""Reports of probers, agents and transceivers to the control plane, and the probers' targets."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from firsthop_steering.plan.model import (
    AwareTime,
    Family,
    IpAddress,
    Liveness,
    Port,
    ProbeKind,
    Slug,
)
from firsthop_zones.model import Model

MAX_VIEWS = 4000
"""Limit on the views in one part of a probe report, which keeps the part below 1 MiB."""
MAX_PARTS = 100
"""Limit on the parts of a probe report."""
MAX_SESSIONS = 1_000_000
"""Limit on reported sessions; a machine with a flow for each of them would need gigabytes."""
_NOT_PRINTABLE = re.compile(r"[^ -~]")


def printable(text: str) -> str:
    """The text with `?` for everything but printable ASCII, since it may come from the target."""
    return _NOT_PRINTABLE.sub("?", text)


Reason = Annotated[str, Field(max_length=200), AfterValidator(printable)]
"""A short reason for people, which logs and terminals may show."""


class ProbeTarget(Model):
    """One relay address to check, with everything that a prober needs.

    The fields from `path` to `fall` are those of `firsthop_steering.plan.model.Probe`.
    """

    relay: Slug
    family: Family = "ipv4"
    """The family of `address`; the result applies to this family alone."""
    kind: ProbeKind
    address: IpAddress
    port: Port
    """Unused by icmp checks."""
    path: str = "/"
    expect_status: int | tuple[int, ...] = 200
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
    """The ufrag or username to which `password` belongs. stun: a ufrag with the reserved region
    wire id 0; path: the ufrag of a session in the transceiver region; turn: the username."""
    password: str | None = None
    nudge: int = Field(default=0, ge=0)
    """A change of this number requests a check at once; 0 requests nothing."""

    @property
    def expected_statuses(self) -> tuple[int, ...]:
        """The HTTP status codes with which a check passes."""
        given = self.expect_status
        return (given,) if isinstance(given, int) else given


class ProbeTargets(Model):
    """All addresses to check. A prober keeps the last list while no control plane is reachable."""

    targets: tuple[ProbeTarget, ...]


MAX_OFF = timedelta(days=366)
"""How far a prober's clock may be from the control plane's, and a check from its report."""


class VantageView(Model):
    """One prober's view of one relay address, after rise and fall."""

    relay: Slug
    family: Family = "ipv4"
    verdict: Liveness
    since: AwareTime
    checked_at: AwareTime
    duration_ms: float | None = Field(default=None, ge=0)
    """Duration of the last successful check."""
    certificate_ends: AwareDatetime | None = None
    """Expiry of the certificate presented in the last successful check of kind tls."""
    reason: Reason = ""
    """Why the last check failed; empty if it succeeded."""


class ProbeReport(Model):
    """All current views of one prober, or one part of them.

    A report replaces the part of the same number; parts beyond `parts` are dropped.
    """

    prober: Slug
    vantage: Slug
    """Name of the vantage from which the prober checks."""
    sent_at: AwareTime
    part: int = Field(default=1, ge=1)
    """Number of this part, from 1."""
    parts: int = Field(default=1, ge=1, le=MAX_PARTS)
    """Number of parts that the prober's views are sent in."""
    views: tuple[VantageView, ...] = Field(max_length=MAX_VIEWS)

    @model_validator(mode="after")
    def _numbered(self) -> Self:
        if self.part > self.parts:
            raise ValueError(f"part: must be at most parts, {self.parts}")
        return self

    @model_validator(mode="after")
    def _checked_of_late(self) -> Self:
        if any(abs(view.checked_at - self.sent_at) > MAX_OFF for view in self.views):
            raise ValueError(f"views: checked_at must be within {MAX_OFF.days} days of sent_at")
        return self


class Report(Model):
    """A machine's report on itself: its load, and whether it accepts new sessions."""

    sequence: int = Field(ge=0)
    """Increases with every report; starts again when the machine restarts."""
    sent_at: AwareTime
    sessions: int = Field(default=0, ge=0, le=MAX_SESSIONS)
    cpu: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False)
    """Busy share of the host's processors, 0 to 1."""
    draining: bool = False
    stops_at: AwareTime | None = None
    """When it will stop; with this field set, it accepts no new sessions."""


class TransceiverReport(Report):
    """A transceiver's report on itself, the only source of its health."""

    capacity: int | None = Field(default=None, ge=1)
    """Sessions it can carry; null: as in the plan."""


class RelayReport(Report):
    """The report of a relay's own agent."""

    packets_per_second: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    bits_per_second: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    drops_per_second: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    crashed: bool = False
    """The agent finds no relay process."""
