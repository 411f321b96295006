"""The keys that credentials are made of, as a key snapshot holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class CredentialKeyMaterial(Protocol):
    """One generation of secrets; both are 32 bytes in hex."""

    @property
    def id(self) -> int:
        """0 to 63."""

    @property
    def route(self) -> str:
        """Authenticates ufrags."""

    @property
    def password(self) -> str:
        """Passwords and TURN secrets are derived from it."""


class KeyMaterial(Protocol):
    """All generations in force; `firsthop_steering.feed.snapshot.KeySet` is one."""

    @property
    def signing(self) -> int:
        """The id of the generation that new credentials use."""

    @property
    def keys(self) -> Sequence[CredentialKeyMaterial]: ...
