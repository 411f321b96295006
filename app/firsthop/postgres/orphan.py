"""Cleans up after a killed server or parent: ends processes, removes lock files."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path


async def end_orphan(data: Path, locks: Sequence[Path], patience_s: float) -> None:
    """Ends processes that still serve `data`, and removes lock files without an owner.

    A server whose parent was killed is ended, if it is not already ending. Lock files are removed
    if their server is dead or another program now has its process id: PostgreSQL itself mistakes a
    zombie or such a program for a running server, and refuses to start.
    """
    # An ending server removes its first file some time before it ends: so read all of them.
    for pid in {_first_number(file) for file in locks}:
        if pid is not None:
            await _end(pid, data, patience_s)
    for file in locks:
        file.unlink(missing_ok=True)


async def _end(pid: int, data: Path, patience_s: float) -> None:
    for sign in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if not _serves(pid, data):
            break
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
        await _gone(pid, data, patience_s)


def _first_number(file: Path) -> int | None:
    try:
        return abs(int(file.read_text().split()[0]))
    except (OSError, ValueError, IndexError):
        return None


def _serves(pid: int, data: Path) -> bool:
    """Whether process `pid` is a live postgres process with this `data`."""
    process = Path("/proc") / str(pid)
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        arguments = (process / "cmdline").read_bytes().split(b"\0")
    except (OSError, IndexError):
        return False
    return state != "Z" and os.fsencode(data) in arguments


async def _gone(pid: int, data: Path, limit_s: float) -> None:
    deadline = asyncio.get_running_loop().time() + limit_s
    while _serves(pid, data) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
