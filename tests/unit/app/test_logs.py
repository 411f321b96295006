"""What a text from elsewhere can do to the log."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = r"""
import logging, structlog, sys
from firsthop import logs
logs.configure(json={as_json})
text = "fra\x1b]0;owned\x07\nverdict.changed\r\x9b2J"
structlog.get_logger().info("region.lost", name=text, many=[text])
logging.getLogger("aiohttp").error("said %s", text)
try:
    raise ValueError("first\nsecond")
except ValueError:
    structlog.get_logger().exception("it.failed")
"""


def logged(*, as_json: bool) -> list[str]:
    program = PROGRAM.format(as_json=as_json)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stderr.split("\n")


@pytest.mark.parametrize("as_json", [True, False])
def test_a_text_cannot_forge_a_line(as_json: bool) -> None:
    """Each event is one line, and no control character reaches the terminal."""
    first, second, *_ = logged(as_json=as_json)
    for line in (first, second):
        assert "verdict.changed" in line
        plain = line.replace("\x1b[", "") if not as_json else line  # our own colours
        assert plain.isprintable(), line
        assert "\x1b]" not in line
    if as_json:
        assert json.loads(first)["name"] == "fra\x1b]0;owned\x07\nverdict.changed\r\x9b2J"


def test_a_traceback_stays_readable() -> None:
    """Its lines are lines, without the values of variables, which may be secrets."""
    lines = logged(as_json=False)
    assert "ValueError: first" in lines
    assert not any("locals" in line for line in lines)
