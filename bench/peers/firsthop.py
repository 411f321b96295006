"""Firsthop itself: `firsthop edge --config`, no control plane, one DNS worker.

The CPU of the whole process tree counts: supervisor, DNS worker, allocator.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from bench.peers.case import REGIONS, SERVICE, TTL, ZONE, Case, Region
from bench.peers.process import AbsentError, Server, free_port, start


def document(regions: Sequence[Region] = REGIONS) -> str:
    """The declarative document, one relay per region; JSON is valid YAML."""
    return json.dumps(
        {
            "regions": [
                {"id": each.id, "latitude": each.latitude, "longitude": each.longitude}
                for each in regions
            ],
            "relays": [
                {"id": f"{each.id}-1", "region": each.id, "ipv4": str(each.address)}
                for each in regions
            ],
            "zones": [
                {
                    "apex": ZONE,
                    "primary": f"ns1.{ZONE}",
                    "contact": f"hostmaster.{ZONE}",
                    "name_servers": [f"ns1.{ZONE}"],
                    "records": [{"owner": f"ns1.{ZONE}", "type": "A", "rdata": "127.0.0.1"}],
                }
            ],
            "services": [{"id": "relay", "name": SERVICE, "ttl": TTL}],
        },
        indent=1,
    )


def _program() -> str:
    beside = Path(sys.executable).with_name("firsthop")
    program = str(beside) if beside.exists() else shutil.which("firsthop")
    if program is None:
        raise AbsentError("the command firsthop is not installed beside this Python")
    asked = subprocess.run([program, "edge", "--help"], capture_output=True, text=True, check=False)
    if asked.returncode:
        reason = asked.stderr.strip().splitlines()[-1:] or [f"exit {asked.returncode}"]
        raise AbsentError(f"{program} edge does not run ({reason[0]})")
    return program


def start_server(case: Case, folder: Path, cpu: int | None) -> Server:
    """Write the document of the case and start an edge; raises AbsentError."""
    return start_edge(case.database, REGIONS, folder, cpu=cpu)


def start_edge(
    database: Path, regions: Sequence[Region], folder: Path, *, cpu: int | None = None
) -> Server:
    """Write the document of these regions and start an edge; raises AbsentError."""
    program = _program()
    port = free_port()
    (folder / "document.yaml").write_text(document(regions))
    environment = {
        # Settings in the caller's environment must not affect this edge.
        **{name: value for name, value in os.environ.items() if not name.startswith("FIRSTHOP_")},
        "FIRSTHOP_ALLOCATOR_LISTEN": f"127.0.0.1:{free_port()}",
        "FIRSTHOP_METRICS_LISTEN": f"127.0.0.1:{free_port()}",
        "FIRSTHOP_GEOIP_CITY": str(database),
        "FIRSTHOP_END_WITH_PARENT": str(os.getpid()),
    }
    command: list[str | Path] = [program, "edge", "--config", folder / "document.yaml"]
    command += ["--dns", f"127.0.0.1:{port}", "--dns-workers", "1", "--state-dir", folder / "state"]
    return start(
        "firsthop",
        command,
        version=f"{version('firsthop')} on CPython {platform.python_version()}",
        port=port,
        folder=folder,
        cpu=cpu,
        env=environment,
    )
