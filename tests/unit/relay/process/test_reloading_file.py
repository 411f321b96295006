"""Route keys on disk: who may read them, and what happens when they change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from firsthop_ice.ufrag import RouteKeys
from firsthop_relay.process.reloading_file import FileError, KeyFile

OLD = RouteKeys({1: b"1" * 32})
NEW = RouteKeys({1: b"1" * 32, 2: b"2" * 32})


def written(path: Path, keys: RouteKeys, mode: int = 0o600) -> Path:
    path.write_text(keys.to_json())
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_a_private_file_is_read(tmp_path: Path, mode: int) -> None:
    assert KeyFile(written(tmp_path / "keys", OLD, mode)).load() == OLD


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o666, 0o602])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "keys", OLD, mode)
    with pytest.raises(FileError, match=f"keys: mode {mode:04o} is too open"):
        KeyFile(path).load()


def test_what_is_no_key_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="missing: No such file"):
        KeyFile(tmp_path / "missing").load()
    with pytest.raises(FileError, match="Is a directory"):
        KeyFile(tmp_path).load()
    with pytest.raises(FileError, match="null: not a regular file"):
        KeyFile(Path("/dev/null")).load()
    broken = written(tmp_path / "broken", OLD)
    broken.write_text(broken.read_text()[:-5])
    with pytest.raises(FileError, match="broken: is not JSON"):
        KeyFile(broken).load()


def test_a_change_is_seen_once(tmp_path: Path) -> None:
    """By replacement or in place; a bad file is tried once, not every second."""
    path = written(tmp_path / "keys", OLD)
    keys = KeyFile(path)
    keys.load()
    assert not keys.changed()
    written(tmp_path / "fresh", NEW).replace(path)
    assert keys.changed()
    assert keys.load() == NEW
    assert not keys.changed()
    path.write_text("junk")
    assert keys.changed()
    with pytest.raises(FileError):
        keys.load()
    assert not keys.changed()
    path.unlink()
    assert not keys.changed()
    written(path, OLD)
    assert keys.changed()


def test_a_touch_is_a_change(tmp_path: Path) -> None:
    path = written(tmp_path / "keys", OLD)
    keys = KeyFile(path)
    keys.load()
    os.utime(path, (1, 1))
    assert keys.changed()
