"""Small zones with two features each: where Knot and NSD agree, we answer as they do."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.peers.process import AbsentError

from wire.conftest import FOREIGN
from wire.pairs import compared

ZONES = 3


@pytest.mark.skipif(bool(FOREIGN), reason="looks into our own server")
def test_where_knot_and_nsd_agree_we_do_too(tmp_path: Path) -> None:
    """RFC 1034 §4.3.2, with wildcards, DNAMEs and delegations; `pairs.py` has all such zones."""
    tmp_path.chmod(0o755)
    try:
        different, counts = compared(tmp_path, ZONES, seed=16)
    except AbsentError as reason:
        pytest.skip(str(reason))
    assert different == []
    assert counts["agreed"] > 100
