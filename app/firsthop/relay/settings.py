"""What a relay is told when it starts."""

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
    """Holds the flow journal; None: no journal, and nobody can take over."""
    flow_store: str = field(default="", repr=False)
    """URL of a Redis that a fleet shares its flows in; empty: none."""
    take_over: bool = False
    """Whether it takes the place of a relay that runs on the same state folder."""
