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
    """Addresses, limits and intervals; secrets are in `Parts`. Times are in seconds."""

    database_url: str
    host: str = "127.0.0.1"
    port: int = 8080
    """0: any free port."""
    advertise_url: str = ""
    """The URL at which other control planes reach this one; empty: the one it listens on."""
    allow_loopback: bool = False
    """Whether relays, transceivers and fallbacks may have loopback addresses."""
    body_limit: int = 2**20
    """Largest size of a request in bytes, after decompression."""
    changeset_limit: int = 32 * 2**20
    """Larger limit, for requests with whole documents."""
    heartbeat_s: float = 2.0
    """How often an idle stream sends a heartbeat."""
    stuck_after_s: float = 30.0
    """A stream is dropped if its reader takes nothing for this time."""
    poll_s: float = 1.0
    """Time between polls of the store; a change whose notification was lost waits for the next."""
    status_interval_s: float = 1.0
    """Shortest time between two statuses that differ only in load."""
    learn_interval_s: float = 30.0
    """Shortest time between two publications of latency learned from new samples."""
    exploration_share: float = SHARE
    """Share of the allocations that may include a relay only to measure it; 0: none."""
    plan_interval_s: float = PLAN_S
    """Time between price plans; shorter if a region is full or lost, or the plan changes."""
    plan_warm_up_s: float = WARM_UP_S
    """A new leader keeps the prices in force until it has received demand for this time."""
    stale_after_s: float = 10.0
    """Shortest time for which a prober's view is fresh; three check intervals if that is longer."""
    report_stale_after_s: float = 30.0
    """Time for which an agent's report is fresh."""
    clock_skew_s: float = 300.0
    """Largest accepted difference between our clock and a reporting machine's."""
    settle_s: float = 3.0
    """A new leader keeps inherited verdicts for this time, so that every prober can report."""
    depool_region_share: float = Shares().region
    """Largest share of a region's active relays that measurements may take down; at least one."""
    depool_share: float = Shares().all
    """Largest share of all active relays that measurements may take down; at least one."""
    guard_share: float = GUARD_SHARE
    """A change that moves a larger share of a service's clients must be forced; 1: never."""
    past_kept_days: float = PAST_KEPT_DAYS
    """How long past statuses, prices and latencies are kept, to explain past answers."""
    shutdown_s: float = 1.0
    """How long open requests may take at shutdown."""
