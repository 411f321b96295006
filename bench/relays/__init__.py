"""The relays that are compared; each module starts one and opens flows through it."""

from __future__ import annotations

from bench.relays import coturn, firsthop, plain

PEERS = {"firsthop": firsthop.start_peer, "coturn": coturn.start_peer, "plain": plain.start_peer}
REFERENCE = "coturn"
