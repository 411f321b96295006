"""The settings of a control plane, with their defaults."""

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
    """Addresses, limits and intervals; secrets come with `Parts`. Times are seconds."""

    database_url: str
    host: str = "127.0.0.1"
    port: int = 8080
    """0: any free port."""
    advertise_url: str = ""
    """The URL at which other control planes reach this one; empty: where it listens."""
    body_limit: int = 2**20
    """Bytes of one request, after decompression."""
    changeset_limit: int = 32 * 2**20
    """The same for whole documents and probe results."""
    heartbeat_s: float = 2.0
    """How often an idle stream sends a heartbeat."""
    stuck_after_s: float = 30.0
    """A stream whose reader takes nothing for so long is dropped."""
    poll_s: float = 1.0
    """How late a change is noticed whose notification was lost."""
    status_interval_s: float = 1.0
    """How often a status is published for changed load alone, at most."""
    learn_interval_s: float = 30.0
    """How often latency is learned from new samples, and published, at most."""
    exploration_share: float = SHARE
    """The share of allocations that may include a relay only to measure it; 0: none."""
    plan_interval_s: float = PLAN_S
    """How often prices are planned; sooner when a region is full or lost, or the plan changes."""
    plan_warm_up_s: float = WARM_UP_S
    """A new leader keeps the prices in force until it has received demand for so long."""
    stale_after_s: float = 10.0
    """How long a prober's view is fresh, at least; three checks where checks are rarer."""
    report_stale_after_s: float = 30.0
    """How long an agent's report is fresh."""
    clock_skew_s: float = 300.0
    """How far the clock of a reporting machine may be off."""
    settle_s: float = 3.0
    """A new leader keeps inherited verdicts for so long: every prober must have time to report."""
    depool_region_share: float = Shares().region
    """At most this share of a region's active relays may be down by measurement, but always one."""
    depool_share: float = Shares().all
    """The same of all active relays."""
    guard_share: float = GUARD_SHARE
    """A change that moves a larger share of a service's clients must be forced; 1: none must."""
    past_kept_days: float = PAST_KEPT_DAYS
    """How long status, prices and latency of the past are kept, to explain past answers."""
    shutdown_s: float = 1.0
    """How long open requests may take at shutdown."""
