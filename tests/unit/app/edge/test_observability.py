"""What an edge tells its operators: the body of /readyz, and the metrics."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import CollectorRegistry, generate_latest

from firsthop.document_files import DocumentStamp, stamp_of
from firsthop.edge.compiling.in_force import InForce
from firsthop.edge.compiling.tables import TableStore
from firsthop.edge.following.feed_source import FeedSource
from firsthop.edge.following.file_source import FileSource
from firsthop.edge.following.follower import FeedFollower
from firsthop.edge.following.geo_source import GeoTableSource
from firsthop.edge.following.snapshot_store import SnapshotStore
from firsthop.edge.following.source import SnapshotSource
from firsthop.edge.following.watch import FileWatch
from firsthop.edge.reporting.demand import DemandBuffer
from firsthop.edge.reporting.metrics import EdgeCollector
from firsthop.edge.reporting.observability import readiness
from firsthop.edge.reporting.state import EdgeState
from firsthop.edge.reporting.worker_reports import WorkerReports
from firsthop.process.workers import Worker
from firsthop_steering.feed.guidance import Guidance
from firsthop_steering.feed.snapshot import seal
from firsthop_steering.plan.document import DocumentError
from support.worlds import NOW, europe_and_america, plan_of, prices_of, status_of

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
REGIONS = "regions: [{id: fra, latitude: 50, longitude: 8}]\n"


def view_of(source: SnapshotSource, folder: Path, *, loaded: str = "") -> EdgeState:
    """Of an edge with one DNS worker."""
    geo = GeoTableSource(None, None, cache=folder)
    geo.table = europe_and_america()
    worker = SimpleNamespace(name="dns-0", pid=7, loaded=loaded, failure="", restarts=2)
    return EdgeState(
        source,
        geo,
        TableStore(folder / "tables"),
        InForce(),
        WorkerReports([DemandBuffer()], retry=lambda: None),
        [cast("Worker", worker)],
        lambda: True,
    )


def feed(folder: Path) -> tuple[SnapshotStore, FeedFollower, FeedSource]:
    """One that is not connected."""
    store = SnapshotStore(folder / "snapshots", KEY.public_key(), any_age=True)
    follower = FeedFollower(["http://a", "http://b"], "t", store, print)
    return store, follower, FeedSource(store, follower)


def samples(view: EdgeState) -> dict[str, float]:
    """The metrics as they are scraped."""
    registry = CollectorRegistry()
    registry.register(EdgeCollector(view))
    lines = generate_latest(registry).decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_an_edge_that_has_nothing_says_so(tmp_path: Path) -> None:
    """Every field is there; what is unknown is null."""
    store, follower, source = feed(tmp_path)
    view = view_of(source, tmp_path)
    follower.last_error = "http://a: refused"
    store.accept(b"no snapshot\n")
    said = readiness(view)
    assert json.loads(json.dumps(said)) == {
        "ready": False,
        "snapshots": {},
        "feed": {"connected_to": None, "last_error": "http://a: refused", "clock_off_s": None},
        "alone": True,
        "refused": store.last_rejection,
        "table_error": None,
        "disk_error": None,
        "document_error": None,
        "geodata": {
            "digest": europe_and_america().digest,
            "type": europe_and_america().database_type,
            "error": None,
        },
        "workers": {"dns-0": {"pid": 7, "loaded": None, "failure": None}},
    }
    assert samples(view)['firsthop_snapshots_refused_total{origin="feed"}'] == 1


def test_answers_of_a_region_are_one_metric_whatever_their_family(tmp_path: Path) -> None:
    view = view_of(feed(tmp_path)[2], tmp_path)
    labels = {"service": "relay", "region": "fra"}
    counted = [({**labels, "family": "ipv4"}, 3), ({**labels, "family": "ipv6"}, 2)]
    view.reports.counters.report("dns-0", 1, {"firsthop_region_answers_total": counted})
    found = samples(view)
    assert found['firsthop_region_answers_total{region="fra",service="relay"}'] == 5


def test_what_is_in_force_is_shown(tmp_path: Path) -> None:
    """Not what was received since; metrics and readiness agree."""
    store, follower, source = feed(tmp_path)
    store.accept(seal(plan_of({}, number=9), KEY))
    follower.connected_to = "http://b"
    view = view_of(source, tmp_path, loaded="digest")
    document = {
        "regions": [{"id": "fra", "latitude": 50, "longitude": 8}],
        "relays": [
            {"id": f"fra-{n}", "region": "fra", "ipv4": f"192.0.2.{n}"} for n in range(1, 4)
        ],
    }
    view.in_force.snapshots = plan_of(document, number=8), status_of(3, fra_1="up", fra_2="down")
    view.in_force.guidance = Guidance(prices_of(fra=7.5))
    view.in_force.error = "no room"
    view.reports.take(
        view.workers[0],
        {"counters": {"firsthop_dns_requests_total": [({"transport": "udp"}, 5)]}},
    )
    said = readiness(view)
    assert said["ready"] is True
    assert {kind: each["number"] for kind, each in said["snapshots"].items()} == {
        "plan": 8, "status": 3, "prices": 5,
    }  # fmt: skip
    assert said["feed"]["connected_to"] == "http://b"
    assert said["table_error"] == "no room"
    found = samples(view)
    assert {name: value for name, value in found.items() if "age_seconds" not in name} == {
        'firsthop_dns_requests_total{transport="udp"}': 5,
        'firsthop_snapshot_number{kind="plan"}': 8,
        'firsthop_snapshot_number{kind="status"}': 3,
        'firsthop_snapshot_number{kind="prices"}': 5,
        'firsthop_verdict{relay="fra-1"}': 1,
        'firsthop_verdict{relay="fra-2"}': 0,
        'firsthop_verdict{relay="fra-3"}': 0.5,
        "firsthop_table_stale": 1,
        "firsthop_disk_failed": 0,
        "firsthop_ready": 1,
        "firsthop_edge_alone": 1,
        "firsthop_feed_connected": 1,
        'firsthop_feed_source{url="http://a"}': 0,
        'firsthop_feed_source{url="http://b"}': 1,
        "firsthop_feed_gaps_total": 0,
        "firsthop_samples_waiting": 0,
        'firsthop_worker_restarts_total{worker="dns-0"}': 2,
        'firsthop_inputs_refused_total{cause="content",input="geodata"}': 0,
        'firsthop_inputs_refused_total{cause="content",input="snapshot"}': 0,
        'firsthop_inputs_refused_total{cause="fault",input="geodata"}': 0,
        'firsthop_inputs_refused_total{cause="fault",input="snapshot"}': 0,
    } | {name: 0 for name in found if name.startswith("firsthop_samples_total")}


async def test_an_edge_of_a_document_follows_no_feed(tmp_path: Path) -> None:
    """A refused document leaves the former one in use, and is watched; a mended one is taken."""
    path = tmp_path / "edge.yaml"
    path.write_text(REGIONS)
    source = FileSource(path, tmp_path)
    source.load()
    view = view_of(source, tmp_path)
    former = source.plan
    path.write_text("regions: [{id: fra}]\n")
    await source.reload()
    said = readiness(view)
    assert (said["feed"], said["refused"]) == (None, None)
    assert "regions" in said["document_error"]
    assert source.plan is former
    assert source.files.keys() == {path}
    path.write_text(REGIONS)
    await source.reload()
    assert readiness(view)["document_error"] is None
    assert source.plan is not former
    with pytest.raises(DocumentError):
        FileSource(tmp_path / "none.yaml", tmp_path).load()


def test_a_file_is_read_again_once_it_stays_as_it_is(tmp_path: Path) -> None:
    """Whoever still writes is waited for; a change from between reading and looking is seen."""
    path, watch = tmp_path / "file", FileWatch()

    def write(text: str, seconds: int) -> DocumentStamp:
        path.write_text(text)
        when = (NOW + timedelta(seconds=seconds)).timestamp()
        os.utime(path, (when, when))
        return stamp_of(path)

    first, second = write("a", 0), write("ab", 1)
    assert [watch.changed([], {path: first}) for _ in range(2)] == [False, True]
    assert not watch.changed([], {path: second})
    write("abc", 2)
    assert [watch.changed([path], {}) for _ in range(3)] == [False, True, False]
    path.unlink()
    assert [watch.changed([path], {}) for _ in range(3)] == [False, True, False]


@pytest.mark.parametrize("place", ["new file", "same file"])
def test_a_file_of_equal_size_and_time_is_read_again(tmp_path: Path, place: str) -> None:
    """As copies that keep times make them, and images where every file has the time 1."""
    path, watch = tmp_path / "file", FileWatch()
    path.write_text("a")
    os.utime(path, (1, 1))
    watch.changed([], {path: stamp_of(path)})
    written = tmp_path / "new" if place == "new file" else path
    written.write_text("b")
    os.utime(written, (1, 1))
    if written != path:
        written.rename(path)
    assert [watch.changed([path], {}) for _ in range(3)] == [False, True, False]
