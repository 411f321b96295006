"""Credentials per second of CPU: minting, verification, rejection, and password derivation.

    python bench/credentials.py [--credentials 20000] [--rounds 5]

Every ufrag is new, has 31 characters, and must decode to the region it was minted for; a ufrag with
a wrong tag must be rejected.
"""

# ruff: noqa: E402  (sys.path is set right before our own imports, see below)

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

# With this folder on sys.path `import dns` would find bench/dns.py instead of dnspython.
sys.path[0] = str(Path(__file__).resolve().parents[1])

from firsthop_ice.region_keys import RegionKeys
from firsthop_ice.ufrag import (
    ENTROPY_LENGTH,
    UFRAG_LENGTH,
    CredentialKeys,
    Decoded,
    RejectedUfrag,
    decode,
    mint,
)
from firsthop_steering.feed.snapshot import CredentialKey, KeySet

REGION = 4711


def new_keys() -> CredentialKeys:
    """One generation."""
    now = datetime.now(UTC)
    key = CredentialKey(
        id=5, route=secrets.token_hex(32), password=secrets.token_hex(32), created_at=now
    )
    keyset = KeySet(number=1, lineage="bench", created_at=now, signing=5, keys=(key,))
    return CredentialKeys.from_keyset(keyset)


def forged(ufrag: str) -> str:
    """The ufrag with a wrong tag, still canonical."""
    return ufrag[:-2] + ("A" if ufrag[-2] != "A" else "E") + ufrag[-1]


def rate(work: Callable[[], object], count: int, rounds: int) -> float:
    """Operations per second of this process's CPU in the best round."""
    best = float("inf")
    for _ in range(rounds):
        before = time.process_time()
        work()
        best = min(best, time.process_time() - before)
    return count / best


def main() -> int:
    """Runs the benchmark; 0 if all results were right."""
    parser = argparse.ArgumentParser(description="Credentials a second of CPU.")
    parser.add_argument("--credentials", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    keys, now, count = new_keys(), datetime.now(UTC), chosen.credentials
    here, ends = RegionKeys.of(keys, REGION), now + timedelta(hours=1)
    random = [secrets.token_bytes(ENTROPY_LENGTH) for _ in range(count)]
    issue = partial(mint, keys, region=REGION, transceiver=7, expires_at=ends)
    made = [issue(entropy=each) for each in random]
    good, bad = [each.ufrag for each in made], [forged(each.ufrag) for each in made]
    read = partial(decode, route_keys=keys.routes, now=now)
    for each in made:
        decoded = read(each.ufrag)
        right = isinstance(decoded, Decoded) and decoded.region == REGION
        if (
            not right
            or len(each.ufrag) != UFRAG_LENGTH
            or here.password(each.ufrag) != each.password
        ):
            print(f"{each.ufrag} is not what was minted")
            return 1
    if any(read(each) != RejectedUfrag("tag") for each in bad):
        print("a forged ufrag was not refused")
        return 1
    for what, work in (
        ("minted, ufrag and password", lambda: [issue(entropy=each) for each in random]),
        ("verified", lambda: [read(each) for each in good]),
        ("forged ones refused", lambda: [read(each) for each in bad]),
        ("passwords derived", lambda: [here.password(each) for each in good]),
    ):
        found = rate(work, count, chosen.rounds)
        print(f"{what}: {found:,.0f} a second of CPU, {1e6 / found:.2f} us each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
