"""The systemd units that are shipped: systemd reads them, and they ask for options that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
DEPLOY = Path(__file__).parents[3] / "deploy"
UNITS = ["firsthop-agent.service", "firsthop-prober.service"]
MAX_EXPOSED = 2.0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_reads_the_unit_and_finds_it_hardened(name: str, tmp_path: Path) -> None:
    """Not a word of complaint, and an exposure far below what is called medium (5)."""
    program = Path(sys.executable).with_name("firsthop")
    unit = tmp_path / name
    unit.write_text((DEPLOY / name).read_text().replace("/opt/firsthop/bin/firsthop", str(program)))
    verified = _analyze("verify", "--man=no", str(unit))
    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    security = _analyze("security", "--offline=true", "--no-pager", str(unit)).stdout
    exposure = re.search(r"exposure level.*: ([0-9.]+)", security)
    assert exposure, security
    assert float(exposure[1]) <= MAX_EXPOSED


@pytest.mark.parametrize("name", UNITS)
def test_the_variables_of_a_unit_are_those_of_its_command(name: str) -> None:
    """Those that it sets, and those that its head tells to set."""
    text = (DEPLOY / name).read_text()
    command = re.search(r"^ExecStart=\S+ (\w+)$", text, re.MULTILINE)
    assert command, text
    told = subprocess.run(
        [sys.executable, "-m", "firsthop", command[1], "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "300", "TERM": "dumb"},
    ).stdout
    variables = set(re.findall(r"FIRSTHOP_[A-Z_]+", text))
    assert {"FIRSTHOP_TOKEN_FILE", "FIRSTHOP_API_URL"} <= variables
    assert variables <= set(re.findall(r"FIRSTHOP_[A-Z_]+", told))


def _analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False, timeout=60
    )
