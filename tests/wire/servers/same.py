"""What every server under test is given alike, where it can be told."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench.peers.process import AbsentError

APEX = "example.test."
ZONE_FILE = Path(__file__).parents[1] / "zones" / "example.test.zone"
COOKIE_SECRET = "e5e973e5a6b2a43f48e7dc849e37bfcf"
"""Of RFC 9018, appendix A.1; one secret for all servers of an anycast address (§5)."""
NSID = "wire"
"""How the server under test is called (RFC 5001)."""
_PLACES = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"


def program(name: str, package: str) -> str:
    """Where the program is; raises AbsentError."""
    found = shutil.which(name, path=_PLACES)
    if found is None:
        raise AbsentError(f"{name} is not installed (Debian: {package})")
    return found
