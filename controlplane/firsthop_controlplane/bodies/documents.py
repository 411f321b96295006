"""Bodies that contain a whole document.

Only what the child process needs to check them is imported here: it starts for each of them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from firsthop_steering.plan.document import Document
from firsthop_steering.plan.model import Slug
from firsthop_zones.model import Model

MAX_CLIENTS = 100_000
"""Clients of one simulation."""
MAX_MESSAGE = 1000
"""Characters of a change set's message."""


class Changeset(Model):
    """The whole desired configuration; objects that it does not contain are deleted."""

    document: Document
    message: str = Field(default="", max_length=MAX_MESSAGE)
    dry_run: bool = False
    """Only return what would change."""
    force: bool = False
    """Make the change even if it moves more clients than the guard allows."""


class SimulationRequest(Model):
    """A hypothetical plan or loss, and the clients to simulate."""

    document: Document | None = None
    """The whole hypothetical configuration; null: the present one."""
    lost_regions: tuple[Slug, ...] = ()
    """Regions whose relays are assumed to be down."""
    lost_relays: tuple[Slug, ...] = ()
    service: str | None = Field(default=None, min_length=1, max_length=254)
    """A service's id or name; null: every service."""
    clients: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] | None = Field(
        default=None, min_length=1, max_length=MAX_CLIENTS
    )
    """Addresses or prefixes, each counted once; of a prefix, its first address is simulated. Null:
    every address that can be located. An empty list is refused: nothing could move."""
