"""A relay that restarts in the middle of a call: what it imports before its first packet."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLOW = (
    "typer", "click", "rich", "pydantic", "pydantic_core", "numpy", "aiohttp", "structlog",
    "prometheus_client", "yaml", "cryptography", "redis", "firsthop_steering.plan.model",
)  # fmt: skip


@pytest.mark.parametrize("command", ["relay", "relay_worker"])
def test_it_imports_nothing_slow(command: str) -> None:
    """Each of these takes as long as all that it needs, or half of that."""
    program = f"import sys, firsthop.cli, firsthop.commands.{command}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()).isdisjoint(SLOW)
