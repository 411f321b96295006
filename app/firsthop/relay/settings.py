"""Settings of a relay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from firsthop.addresses import Listen
from firsthop_relay.flows.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """One relay process and its workers."""

    udp: Sequence[Listen]
    tcp: Sequence[Listen] = ()
    route_keys: Path
    routes: Path | None = None
    metrics: Listen | None = None
    workers: int = 1
    limits: Limits = field(default_factory=Limits)
    """For all workers together."""
    state_dir: Path | None = None
    """Holds the flow journal; None: no journal, and no take-over."""
    flow_store: str = field(default="", repr=False)
    """URL of the Redis in which a fleet shares its flows; empty: none."""
    take_over: bool = False
    """Whether it takes over from a relay that runs on the same state folder."""
