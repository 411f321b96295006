"""Options of `firsthop controlplane`: each refusal names the option and the rule."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from firsthop import command_line
from firsthop.commands import controlplane
from firsthop.controlplane.process import ControlPlaneOptions

BASE = ["controlplane", "--database-url", "postgresql://nowhere"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ControlPlaneOptions]:
    """What the control plane would have been started with."""
    said: list[ControlPlaneOptions] = []
    monkeypatch.setattr(controlplane, "run_controlplane", lambda options, _: said.append(options))
    return said


def start(folder: Path, *options: str, **environment: str) -> tuple[int, str]:
    command = [*BASE, "--state-dir", str(folder), *options]
    result = CliRunner().invoke(
        command_line.build("controlplane"), command, env={"COLUMNS": "500", **environment}
    )
    return result.exit_code, result.output


def test_the_shares_of_the_depool_guard(tmp_path: Path, started: list[ControlPlaneOptions]) -> None:
    """Half of each unless told otherwise, by option or by environment."""
    start(tmp_path)
    start(tmp_path, "--depool-share", "1", FIRSTHOP_DEPOOL_REGION_SHARE="0.25")
    shares = [(each.settings.depool_region_share, each.settings.depool_share) for each in started]
    assert shares == [(0.5, 0.5), (0.25, 1.0)]


@pytest.mark.parametrize("option", ["--depool-share", "--depool-region-share"])
@pytest.mark.parametrize("share", ["0", "-0.1", "1.01", "nan"])
def test_a_share_is_above_0_and_at_most_1(
    tmp_path: Path, started: list[ControlPlaneOptions], option: str, share: str
) -> None:
    code, output = start(tmp_path, option, share)
    assert code == 2
    assert option in output
    assert "must be above 0 and at most 1" in output
    assert not started


def test_the_guard_share_of_a_change(tmp_path: Path, started: list[ControlPlaneOptions]) -> None:
    """A quarter unless told otherwise; none and all are shares too."""
    start(tmp_path)
    start(tmp_path, "--guard-share", "0")
    start(tmp_path, FIRSTHOP_GUARD_SHARE="1")
    assert [each.settings.guard_share for each in started] == [0.25, 0.0, 1.0]
    code, output = start(tmp_path, "--guard-share", "1.5")
    assert (code, len(started)) == (2, 3)
    assert "must be from 0 to 1, not 1.5" in output


def test_the_share_that_explores(tmp_path: Path, started: list[ControlPlaneOptions]) -> None:
    """Three per cent unless told otherwise; none is a share too, and a fifth is the most."""
    start(tmp_path)
    start(tmp_path, "--exploration-share", "0")
    start(tmp_path, FIRSTHOP_EXPLORATION_SHARE="0.2")
    assert [each.settings.exploration_share for each in started] == [0.03, 0.0, 0.2]
    for share in ("0.21", "-0.01", "nan"):
        code, output = start(tmp_path, "--exploration-share", share)
        assert (code, len(started)) == (2, 3)
        assert "--exploration-share" in output
        assert "must be from 0 to 0.2" in output
