"""What a control plane is told at its start."""

from __future__ import annotations

from dataclasses import dataclass

from firsthop_steering.health.depool import Shares
from firsthop_steering.planner.planner import PLAN_S, WARM_UP_S
from firsthop_steering.rtt.exploration import SHARE

SERVICE = "firsthop-controlplane"
GUARD_SHARE = 0.25
PAST_KEPT_DAYS = 7.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Addresses, limits and intervals; secrets come with `Deps`. Times are seconds."""

    database_url: str
    host: str = "127.0.0.1"
    port: int = 8080
    """0: any free port."""
    advertise_url: str = ""
    """Where other control planes reach this one; empty: where it listens."""
    body_limit: int = 2**20
    """Bytes of one request, after decompression."""
    changeset_limit: int = 32 * 2**20
    """A whole document is longer than one object."""
    heartbeat_s: float = 2.0
    """An idle stream says this often that it lives."""
    stuck_after_s: float = 30.0
    """A reader that takes nothing for so long is dropped."""
    poll_s: float = 1.0
    """How late a change is seen whose notification was lost."""
    status_interval_s: float = 1.0
    """Load alone makes a new status at most this often."""
    learn_interval_s: float = 30.0
    """How often samples are learned from, and learned latency published, at most."""
    exploration_share: float = SHARE
    """Of all allocations: so many may carry a relay just to learn of it; 0: none does."""
    plan_interval_s: float = PLAN_S
    """How often prices are planned; sooner when a region is full or lost, or the plan changes."""
    plan_warm_up_s: float = WARM_UP_S
    """A new leader holds the prices in force until it has heard demand for so long."""
    stale_after_s: float = 10.0
    """How long a prober's view counts, at least; three checks where checks are rarer."""
    report_stale_after_s: float = 30.0
    """How long an agent's word counts."""
    clock_skew_s: float = 300.0
    """How far an agent's clock may be off."""
    settle_s: float = 3.0
    """After a start, verdicts of the run before stand until every prober had time to report."""
    depool_region_share: float = Shares().region
    """At most this share of a region's active relays may be down by measurement, but always one."""
    depool_share: float = Shares().all
    """The same of all active relays."""
    guard_share: float = GUARD_SHARE
    """A change that moves more of a service's clients has to be forced; 1: none has."""
    past_kept_days: float = PAST_KEPT_DAYS
    """For how long it is known how relays stood and what edges were told, to explain past answers.
    """
    shutdown_s: float = 1.0
    """Open requests are given this long."""
