"""Protocols of the keys from which credentials are derived, as key snapshots contain them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class CredentialKeyMaterial(Protocol):
    """One generation of keys; both keys are 32 bytes in hex."""

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
    """All generations in force; implemented by `firsthop_steering.feed.snapshot.KeySet`."""

    @property
    def signing(self) -> int:
        """The id of the generation for new credentials."""

    @property
    def keys(self) -> Sequence[CredentialKeyMaterial]: ...
