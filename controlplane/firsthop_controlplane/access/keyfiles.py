"""Secrets in files: each is written whole or not at all; only the owner can read it."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firsthop_controlplane.errors import ControlPlaneError
from firsthop_ice.region_keys import RegionKeys
from firsthop_ice.turn import secrets_file
from firsthop_ice.ufrag import RouteKeys
from firsthop_steering.feed.snapshot import KeySet, Plan


class BadKeyFile(ControlPlaneError):  # noqa: N818
    """A key file does not contain a valid key."""


def write_private(path: Path, content: str, *, replace: bool = True) -> bool:
    """Write a file of mode 0600; False if it exists and must not be replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            draft.replace(path)
            return True
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # fails if another process was first, and changes nothing
            return True
        return False
    finally:
        draft.unlink(missing_ok=True)


def read_secret(path: Path) -> str | None:
    """The content of a file, without its newline; None if there is no such file."""
    return path.read_text().strip() if path.exists() else None


def _secret(path: Path) -> bytes:
    """32 bytes, in hex at `path`; created on first use."""
    if not path.exists():
        write_private(path, secrets.token_hex(32) + "\n", replace=False)
    try:
        content = bytes.fromhex(path.read_text())
    except ValueError:
        content = b""
    if len(content) != 32:
        raise BadKeyFile(f"{path} must hold 64 hex digits")
    return content


def master_key(state_dir: Path) -> bytes:
    """The key that encrypts the credential keys in the store: `<state>/master.key`."""
    return _secret(state_dir / "master.key")


def signing_key(state_dir: Path, publish_dir: Path) -> Ed25519PrivateKey:
    """The private key that signs snapshots, `<state>/snapshot.key`; writes `snapshot.pub` too.

    Edges have the public key; all replicas share the private one.
    """
    key = Ed25519PrivateKey.from_private_bytes(_secret(state_dir / "snapshot.key"))
    public = key.public_key().public_bytes_raw().hex() + "\n"
    path = publish_dir / "snapshot.pub"
    if not path.exists() or path.read_text() != public:
        write_private(path, public)
        path.chmod(0o644)
    return key


def publish_region_keys(plan: Plan, keys: KeySet, publish_dir: Path) -> None:
    """Write each region's transceiver keys to `regions/<region id>.keys`; remove stale files."""
    folder = publish_dir / "regions"
    wanted = {
        f"{region.id}.keys": RegionKeys.from_keyset(keys, region.wire_id).to_json()
        for region in plan.document.transceiver_regions
        if region.wire_id is not None
    }
    for name, text in wanted.items():
        if read_secret(folder / name) != text:
            write_private(folder / name, text)
    for path in folder.glob("*.keys"):
        if path.name not in wanted:
            path.unlink(missing_ok=True)


def publish_turn_secrets(keys: KeySet, publish_dir: Path) -> None:
    """Write the secrets of TURN servers to `turn.secrets`, which their configuration includes."""
    path, text = publish_dir / "turn.secrets", secrets_file(keys)
    if read_secret(path) != text.strip():
        write_private(path, text)


def publish_routes(text: str, publish_dir: Path) -> None:
    """Write the relays' table of transceivers, which has no secrets, to `routes.json`."""
    path = publish_dir / "routes.json"
    if read_secret(path) != text:
        write_private(path, text)
        path.chmod(0o644)


def publish_route_keys(keys: KeySet, publish_dir: Path) -> None:
    """Write the keys with which relays verify credentials, not the password keys."""
    path, text = publish_dir / "route.keys", RouteKeys.from_keyset(keys).to_json()
    if read_secret(path) != text.strip():
        write_private(path, text)
