"""For all tests: hypothesis draws the same examples in each run, and `make fuzz` draws others.

It has no deadline, because a busy machine is no fault of the code.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

os.environ["FIRSTHOP_ALLOW_LOOPBACK"] = "1"  # relays and transceivers of tests are there
os.environ["FIRSTHOP_ALLOW_TARGETS"] = "127.0.0.0/8,::1/128,0.0.0.0/0,::/0"
settings.register_profile("same", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("fuzz", deadline=None, print_blob=True, max_examples=500)
settings.load_profile(os.environ.get("FIRSTHOP_HYPOTHESIS", "same"))


@pytest.fixture(autouse=True)
def _commands_leave_logging_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command run in this process would tie all later log lines to a stream that is closed."""
    monkeypatch.setattr("firsthop.logs.configure", lambda **_: None)
