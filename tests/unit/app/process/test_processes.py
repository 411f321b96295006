"""Processes that are kept running, and the pipe between a worker and its supervisor."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from firsthop.controlplane.machine_tokens import MachineTokens
from firsthop.process.ending import end_process
from firsthop.process.pipe import UNREAD_LIMIT, SupervisorPipe
from firsthop.up.children import Child
from support.waiting import eventually


def child(folder: Path, said: list[str], *arguments: str) -> Child:
    return Child(
        "child",
        arguments,
        log_dir=folder / "logs",
        environment={},
        restart_after_s=0.0,
        say=said.append,
    )


async def test_a_child_that_always_ends_is_started_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it ended, the pause stays a few seconds and nothing overflows."""
    monkeypatch.setattr("firsthop.up.children.STEADY_S", 600.0)  # a start may take long here
    said: list[str] = []
    made = child(tmp_path, said, "relay", "--no-such-option")
    made.exits = 5000
    await made.start()
    await eventually(lambda: said, "it is said")
    assert said[0].endswith("starting it again in 6.4 s")
    await made.stop()


async def test_a_child_whose_log_folder_went_away_is_started_again(tmp_path: Path) -> None:
    """The folder is made anew; the child does not stay dead."""
    said: list[str] = []
    made = child(tmp_path, said, "relay", "--help")
    await made.start()
    (tmp_path / "logs/child.log").unlink()
    (tmp_path / "logs").rmdir()
    await eventually(lambda: any("running again" in x for x in said), "it runs again")
    await made.stop()
    assert (tmp_path / "logs/child.log").exists()


def test_a_child_ends_when_its_parent_is_gone_already() -> None:
    """The parent is named by its id: in a container it may be process 1."""
    for parent, expected in ((os.getpid(), 0), (1, 1)):
        ran = subprocess.run(
            [sys.executable, "-m", "firsthop", "relay", "--help"],
            env={**os.environ, "FIRSTHOP_END_WITH_PARENT": str(parent)},
            capture_output=True,
            check=False,
        )
        assert ran.returncode == expected


DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); input()"


@pytest.mark.parametrize(("grace_s", "code"), [(0.1, -signal.SIGKILL), (20.0, 0)])
async def test_a_process_is_asked_and_then_killed(grace_s: float, code: int) -> None:
    """Each request has its grace period; the first one that it follows is the last."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DEAF, stdin=pipe, stdout=pipe
    )
    assert process.stdout is not None
    assert process.stdin is not None
    await process.stdout.readline()
    requests = [process.terminate] if code else [lambda: process.stdin.write(b"\n")]
    await end_process(process, *requests, grace_s=grace_s)
    assert process.returncode == code


async def test_a_supervisor_that_does_not_read_stops_no_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reports are left out once the pipe is full; what has to arrive does, whole and in order."""
    reading, writing = os.pipe()
    monkeypatch.setattr(sys, "stdout", os.fdopen(writing, "wb", buffering=0))
    pipe = await SupervisorPipe.open()
    for number in range(1000):
        pipe.report(counters="x" * 1000, number=number)
    pipe.send(loaded="last")
    reader = asyncio.StreamReader(limit=2**20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", buffering=0)
    )
    numbers = []
    while "loaded" not in (said := json.loads(await reader.readline())):
        numbers.append(said["number"])
    assert numbers == list(range(len(numbers)))
    assert len(numbers) * 1000 < 2 * UNREAD_LIMIT + 2**17
    pipe._writer.abort()


def test_machine_tokens_that_are_none_are_named(tmp_path: Path) -> None:
    """An empty file, as a power cut may leave it, is told by its name."""
    path = tmp_path / "machine.tokens"
    path.write_text("")
    with pytest.raises(ValueError, match=r"machine\.tokens: must be a JSON list"):
        MachineTokens(path)
    path.unlink()
    tokens = MachineTokens(path)
    tokens.add([("edge", "edge", None)])
    assert MachineTokens(path)["edge"] == tokens["edge"]
    assert path.stat().st_mode & 0o077 == 0


def test_a_machine_token_with_another_scope_gets_another_secret(tmp_path: Path) -> None:
    """So the control plane replaces it: older releases made probers' tokens without a scope."""
    path = tmp_path / "machine.tokens"
    tokens = MachineTokens(path)
    tokens.add([("vantage-a", "prober", None)])
    old = tokens["vantage-a"]
    tokens.add([("vantage-a", "prober", "vantage-a")])
    new = tokens["vantage-a"]
    assert new != old
    tokens.add([("vantage-a", "prober", "vantage-a")])
    assert MachineTokens(path)["vantage-a"] == new
