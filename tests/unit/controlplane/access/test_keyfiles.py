"""What the control plane puts into files for those who do not follow its feed."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

from firsthop_controlplane.access.keyfiles import (
    publish_region_keys,
    publish_routes,
    publish_turn_secrets,
)
from firsthop_ice.region_keys import RegionKeys
from firsthop_steering.feed.snapshot import CredentialKey, KeySet, Plan
from firsthop_steering.plan.document import Document

NOW = datetime(2026, 11, 24, tzinfo=UTC)
PLACES = {"eu": (7, 50.0, 8.0), "us": (300, 39.0, -77.0)}


def keyset(*ids: int) -> KeySet:
    keys = tuple(
        CredentialKey(id=n, route=f"{n:02x}" * 32, password=f"{n + 64:02x}" * 32, created_at=NOW)
        for n in ids
    )
    return KeySet(number=1, lineage="test", created_at=NOW, signing=ids[-1], keys=keys)


def plan(*regions: str) -> Plan:
    ends = [
        {"id": each, "wire_id": wire_id, "latitude": latitude, "longitude": longitude}
        for each, (wire_id, latitude, longitude) in PLACES.items()
        if each in regions
    ]
    document = Document.model_validate({"transceiver_regions": ends})
    return Plan(number=1, lineage="test", created_at=NOW, document=document)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_each_region_gets_its_own_keys_and_no_others(tmp_path: Path) -> None:
    """For their owner's eyes; the file of a region that is gone goes too."""
    keys = keyset(1, 2)
    publish_region_keys(plan("eu", "us"), keys, tmp_path)
    files = {path.name: path for path in (tmp_path / "regions").iterdir()}
    assert set(files) == {"eu.keys", "us.keys"}
    held = {name: RegionKeys.from_json(path.read_text()) for name, path in files.items()}
    assert held["eu.keys"] == RegionKeys.from_keyset(keys, 7)
    assert (held["us.keys"].region, held["us.keys"].signing) == (300, 2)
    assert not set(held["eu.keys"].by_id.values()) & set(held["us.keys"].by_id.values())
    assert {mode(path) for path in files.values()} == {0o600}
    publish_region_keys(plan("us"), keys, tmp_path)
    assert [path.name for path in (tmp_path / "regions").iterdir()] == ["us.keys"]


def test_a_rotation_reaches_the_files_and_nothing_else_does(tmp_path: Path) -> None:
    """They are written when they change, so that readers do not load the same again."""
    publish_region_keys(plan("eu"), keyset(1), tmp_path)
    publish_turn_secrets(keyset(1), tmp_path)
    files = [tmp_path / "regions/eu.keys", tmp_path / "turn.secrets"]
    before = [path.stat().st_ino for path in files]
    publish_region_keys(plan("eu"), keyset(1), tmp_path)
    publish_turn_secrets(keyset(1), tmp_path)
    assert [path.stat().st_ino for path in files] == before
    publish_region_keys(plan("eu"), keyset(1, 2), tmp_path)
    publish_turn_secrets(keyset(1, 2), tmp_path)
    assert RegionKeys.from_json(files[0].read_text()).signing == 2
    assert files[1].read_text().count("static-auth-secret=") == 2
    assert mode(files[1]) == 0o600


def test_routes_are_no_secret(tmp_path: Path) -> None:
    """A relay's own account may read them."""
    publish_routes('{"routes": []}', tmp_path)
    assert mode(tmp_path / "routes.json") == 0o644
    publish_routes('{"routes": [1]}', tmp_path)
    assert (tmp_path / "routes.json").read_text() == '{"routes": [1]}'
