"""Settings of a relay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from firsthop.addresses import Listen
from firsthop_relay.flows.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """Settings of one relay with all its workers."""

    udp: Sequence[Listen]
    tcp: Sequence[Listen] = ()
    route_keys: Path
    routes: Path | None = None
    metrics: Listen | None = None
    workers: int = 1
    limits: Limits = field(default_factory=Limits)
    """Limits of all workers together."""
    state_dir: Path | None = None
    """The folder of the flow journals; None: no journal, and no take-over."""
    flow_store: str = field(default="", repr=False)
    """URL of the Redis through which a fleet shares flows; empty: none."""
    take_over: bool = False
    """Whether it takes over from a relay that runs with the same state folder."""
