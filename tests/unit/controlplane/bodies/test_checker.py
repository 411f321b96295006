"""How the end of the child that checks a document becomes an answer."""

from __future__ import annotations

import sys

import pytest

from firsthop_controlplane.bodies import checker
from firsthop_controlplane.bodies.checker import MAX_INLINE, BodyChecker
from firsthop_controlplane.bodies.child import OUT_OF_MEMORY
from firsthop_controlplane.bodies.documents import Changeset
from firsthop_controlplane.errors import ControlPlaneError, Refused

RAW = b"{" + b" " * MAX_INLINE + b"}"


async def checked_by(monkeypatch: pytest.MonkeyPatch, program: str) -> object:
    monkeypatch.setattr(checker, "CHILD", (sys.executable, "-c", program))
    return await BodyChecker().model(Changeset, RAW, is_document=True)


@pytest.mark.parametrize(
    "end", [f"sys.exit({OUT_OF_MEMORY})", "os.kill(os.getpid(), signal.SIGKILL)"]
)
async def test_a_child_without_memory_is_the_document_s_fault(
    monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Its limit, or the kernel's."""
    with pytest.raises(Refused) as caught:
        await checked_by(monkeypatch, f"import os, signal, sys; sys.stdin.read(); {end}")
    assert caught.value.status == 413


async def test_any_other_end_is_our_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is not told that the document is too large."""
    with pytest.raises(ControlPlaneError, match="status 1") as caught:
        await checked_by(monkeypatch, "import sys; sys.stdin.read(); sys.exit(1)")
    assert not isinstance(caught.value, Refused)


async def test_a_child_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The document is refused."""
    monkeypatch.setattr(checker, "CHECK_TIMEOUT_S", 0.2)
    with pytest.raises(Refused, match="within"):
        await checked_by(monkeypatch, "import time; time.sleep(600)")
