"""Settings of an edge that a unit test puts together itself."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firsthop.edge.settings import EdgeSettings, FeedSettings

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
"""Signs the snapshots that the edge trusts."""


def feed_settings(folder: Path) -> EdgeSettings:
    """Of an edge that follows a control plane and listens nowhere."""
    return EdgeSettings(
        source=FeedSettings(urls=["http://127.0.0.1:1"], token="t", trusted=KEY.public_key()),
        state_dir=folder,
        dns=[],
        dns_workers=0,
        allocator=[],
        metrics=[],
    )
