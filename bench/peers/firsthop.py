"""Firsthop itself: `firsthop edge --config`, no control plane, one DNS worker.

All CPU of the process tree counts: supervisor, DNS worker, allocator.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from bench.peers.case import REGIONS, SERVICE, TTL, ZONE, Case
from bench.peers.process import Absent, Server, free_port, start


def document() -> str:
    """The declarative document; JSON is YAML."""
    return json.dumps(
        {
            "regions": [
                {"id": each.id, "latitude": each.latitude, "longitude": each.longitude}
                for each in REGIONS
            ],
            "relays": [
                {"id": f"{each.id}-1", "region": each.id, "ipv4": str(each.address)}
                for each in REGIONS
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
        raise Absent("the command firsthop is not installed beside this Python")
    asked = subprocess.run([program, "edge", "--help"], capture_output=True, check=False)
    if asked.returncode:
        raise Absent(f"{program} edge does not run")
    return program


def start_server(case: Case, folder: Path, cpu: int | None) -> Server:
    """Write the document and start an edge; raises Absent."""
    program = _program()
    port = free_port()
    (folder / "document.yaml").write_text(document())
    command = [program, "edge", "--config", folder / "document.yaml"]
    command += ["--dns", f"127.0.0.1:{port}", "--dns-workers", "1", "--state-dir", folder / "state"]
    command += ["--allocator", f"127.0.0.1:{free_port()}", "--metrics", f"127.0.0.1:{free_port()}"]
    return start(
        "firsthop",
        command,
        version=f"{version('firsthop')} on CPython {platform.python_version()}",
        port=port,
        folder=folder,
        cpu=cpu,
        env={"FIRSTHOP_GEOIP_CITY": str(case.database)},
    )
