"""An edge outlives what it depends on: control planes gone for days, a disk without room."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dns.edns
import dns.exception
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firsthop_steering.feed.snapshot import Plan, RelayStatus, Snapshot, Status, kind_of, seal
from firsthop_steering.plan.document import Document
from support.deployment import ask, free_port
from support.fed_edge import DOCUMENT, FRA, GERMANY, IAD, NAME, FedEdge
from support.standin import keyset
from support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.database]

IMPATIENT = """
import firsthop.edge.isolation.detector
firsthop.edge.isolation.detector.SILENT_S = 1.0
"""


def test_an_edge_starts_from_snapshots_that_are_days_old(tmp_path: Path) -> None:
    """It answers by their verdicts, tells their age and why nobody feeds it, and marks answers."""
    key, old = Ed25519PrivateKey.generate(), datetime.now(UTC) - timedelta(days=9)
    public = tmp_path / "snapshot.pub"
    public.write_text(key.public_key().public_bytes_raw().hex())
    edge = FedEdge(tmp_path, api=f"http://127.0.0.1:{free_port()}", token="nobody", key=public)
    snapshots: tuple[Snapshot, ...] = (
        Plan(number=7, lineage="a", created_at=old, document=Document.model_validate(DOCUMENT)),
        Status(
            number=90,
            lineage="a",
            created_at=old,
            relays={
                "fra-1": RelayStatus(verdict="down", since=old),
                "iad-1": RelayStatus(verdict="up", since=old),
            },
        ),
        keyset().model_copy(update={"lineage": "a", "created_at": old}),
    )
    (edge.state / "snapshots").mkdir()
    for each in snapshots:
        (edge.state / f"snapshots/{kind_of(each)}.snapshot").write_bytes(seal(each, key))
    # A minute without a control plane is long for a test: one second is as good.
    with edge.running(PYTHONPATH=edge.patched(IMPATIENT)):
        until(edge.ready, "the edge is ready")
        assert edge.answer() == [IAD]
        said = edge.said()
        days = 9 * 86400
        numbers = {kind: each["number"] for kind, each in said["snapshots"].items()}
        assert (numbers["plan"], numbers["status"]) == (7, 90)
        assert all(days <= each["age_s"] < days + 600 for each in said["snapshots"].values())
        until(lambda: edge.said()["feed"]["last_error"], "why nobody feeds it is told")
        until(lambda: stale(edge.dns), "answers are marked")
        until(lambda: edge.said()["alone"], "it plans for itself")
        assert edge.answer() == [IAD]


def stale(port: int) -> bool:
    """Whether an answer carries the extended error 22, No Reachable Authority (RFC 8914 §4.23)."""
    options = ask(port, GERMANY, name=NAME).options
    return any(isinstance(each, dns.edns.EDEOption) and each.code == 22 for each in options)


def no_mounts() -> str:
    """Why no file system can be mounted for one process alone; empty when it can."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return "a tmpfs of a test's own needs root and unshare"
    done = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True)
    return done.stderr.strip()


def fill(folder: Path) -> Path:
    """A file that leaves no room."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as stream:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    stream.write(bytes(size))
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return filler


@pytest.fixture
async def deployed(start_api: Any) -> Any:
    """A control plane with two relays."""
    api = await start_api()
    await api.made("/v1/changesets", {"document": DOCUMENT})
    return api


async def tell(api: Any, secrets: dict[str, str], **verdicts: str) -> None:
    """What three vantages see."""
    now = datetime.now(UTC).isoformat()
    for vantage, secret in secrets.items():
        views = [
            {"relay": name.replace("_", "-"), "verdict": said, "since": now, "checked_at": now}
            for name, said in verdicts.items()
        ]
        report = {"prober": vantage, "vantage": vantage, "sent_at": now, "views": views}
        assert (await api.call("POST", "/v1/probes/results", report, token=secret)).status == 204


@pytest.mark.skipif(bool(no_mounts()), reason=no_mounts())
async def test_an_edge_with_a_full_disk_takes_new_statuses(deployed: Any, tmp_path: Path) -> None:
    """It answers by each, also after kill -9 of its worker, says what is wrong, and recovers."""
    secrets = {each: await deployed.token_of("prober", each) for each in "abc"}
    await tell(deployed, secrets, fra_1="up", iad_1="up")
    edge = FedEdge(
        tmp_path,
        api=deployed.url,
        token=await deployed.token_of("edge"),
        key=deployed.state_dir / "snapshot.pub",
    )
    script = 'mount -t tmpfs -o size=64m tmpfs "$0" && exec "$@"'
    before = ("unshare", "--mount", "--propagation", "private", "sh", "-c", script)

    async def holds(condition: Callable[[], Any], what: str) -> None:
        await asyncio.to_thread(until, condition, what)

    with edge.running(*before, str(edge.state)):
        await holds(edge.ready, "the edge is ready")
        await holds(lambda: edge.answer() == [FRA], "the nearest answers")
        assert edge.process is not None
        disk = Path(f"/proc/{edge.process.pid}/root{edge.state}")
        filler = await asyncio.to_thread(fill, disk)
        await tell(deployed, secrets, fra_1="down", iad_1="up")
        await holds(lambda: edge.answer() == [IAD], "the status is in force")
        await holds(lambda: "No space left" in (edge.said()["disk_error"] or ""), "it is told")
        assert "No space left" in edge.log.read_text()
        os.kill(edge.said()["workers"]["dns-0"]["pid"], signal.SIGKILL)
        await holds(lambda: edge.answer() == [IAD], "another worker answers the same")
        await tell(deployed, secrets, fra_1="up", iad_1="up")
        await holds(lambda: edge.answer() == [FRA], "so is the next one")
        filler.unlink()
        await holds(lambda: edge.said()["disk_error"] is None, "all is on disk again")
        assert edge.said()["ready"]
        numbers = {each.name for each in (disk / "snapshots").iterdir()}
        assert {"plan.snapshot", "status.snapshot", "keys.snapshot"} <= numbers
