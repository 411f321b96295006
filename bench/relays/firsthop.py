"""Firsthop's relay, as operators start it, with one worker."""

from __future__ import annotations

import json
import secrets
import socket
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from bench.peers.process import free_port, start
from bench.relays.flow import FAR, HOST, Flow, Peer

from firsthop_ice.stun import USERNAME, StunMessageType, binding_success, build
from firsthop_ice.ufrag import CredentialKeys, RouteKeys, mint
from firsthop_steering.feed.snapshot import CredentialKey, KeySet

REGION = 7


def start_peer(folder: Path, flows: int, cpu: int | None) -> Peer:
    """Starts it with new keys and a route table to the far end."""
    now = datetime.now(UTC)
    key = CredentialKey(
        id=1, route=secrets.token_hex(32), password=secrets.token_hex(32), created_at=now
    )
    keys = KeySet(number=1, lineage="bench", created_at=now, signing=1, keys=(key,))
    key_file = folder / "route.keys"
    key_file.write_text(RouteKeys.from_keyset(keys).to_json())
    key_file.chmod(0o600)
    upstream = {"host": FAR[0], "port": FAR[1], "wire_id": 1}
    (folder / "routes.yaml").write_text(
        json.dumps({"routes": [{"region": REGION, "upstreams": [upstream]}]})
    )
    port = free_port()
    command = [sys.executable, "-m", "firsthop", "relay", "--listen", f"{HOST}:{port}"]
    command += ["--route-keys", key_file, "--routes", folder / "routes.yaml"]
    command += ["--state-dir", folder / "state"]
    for limit in ("--max-flows", "--max-unconfirmed", "--max-flows-per-prefix"):
        command += [limit, str(2 * flows)]
    server = start(
        "firsthop", command, version=f"(Python {sys.version.split()[0]})", port=port,
        folder=folder, cpu=cpu,
    )  # fmt: skip
    return Peer(server, partial(_connect, CredentialKeys.from_keyset(keys)))


def _connect(keys: CredentialKeys, sock: socket.socket, far: socket.socket) -> Flow:
    """A connectivity check and its response, as by an ICE agent and a transceiver."""
    credential = mint(
        keys, region=REGION, transceiver=1, entropy=secrets.token_bytes(7),
        expires_at=datetime.now(UTC) + timedelta(hours=1),
    )  # fmt: skip
    username = (USERNAME, credential.ufrag.encode() + b":peer")
    request = build(
        StunMessageType.REQUEST, secrets.token_bytes(12), [username], password=credential.password
    )
    sock.send(request)
    packet, upstream = far.recvfrom(2048)
    assert packet == request
    far.sendto(binding_success(packet[8:20], upstream, credential.password), upstream)
    sock.recv(2048)
    return Flow(sock, b"", upstream)
