"""gdnsd on what it can read of the sample zone.

It has no DNAME and no DS, no names below an asterisk, refuses CNAMEs that loop, and
takes types that it does not know in the generic form of RFC 3597 alone. Data of no octets ends its
process (version 3.8.1).
"""

from __future__ import annotations

import re
from pathlib import Path

import dns.name
import dns.rdatatype
import dns.zone
from bench.peers.process import Server, first_line, free_port, start

from wire.servers.same import APEX, NSID, ZONE_FILE, program

READS = {"SOA", "A", "AAAA", "NS", "PTR", "CNAME", "MX", "SRV", "TXT", "NAPTR", "CAA"}
LACKS = frozenset({"DNAME", "DS", "star-inside", "empty-rdata", "loops", "vast"})
REFUSED = re.compile(rb"loop\d|self|more|spin|vast")
"""First or second label of aliases it refuses, and of an RRset of more than 16,376 octets."""


def config(port: int, folder: Path) -> str:
    """The text of gdnsd's `config`."""
    return f"""options => {{
  listen => [ 127.0.0.1:{port} ]
  udp_threads = 1
  tcp_threads = 1
  run_dir = {folder}/run
  state_dir = {folder}/state
  nsid_ascii = {NSID}
}}
"""


def zone() -> str:
    """The zone file, reduced."""
    apex = dns.name.from_text(APEX)
    read = dns.zone.from_file(str(ZONE_FILE), apex, relativize=False)
    lines = []
    for name, rdataset in read.iterate_rdatasets():
        kind = dns.rdatatype.to_text(rdataset.rdtype)
        if kind in LACKS or b"*" in name.labels[1:]:
            continue
        if any(map(REFUSED.fullmatch, name.labels[:2])):
            continue
        for rdata in rdataset:
            text = str(rdata)
            if kind not in READS:
                octets = rdata.to_wire() or b""
                if not octets:
                    continue
                text = f"\\# {len(octets)} {octets.hex()}"
            shown = kind if kind in READS else f"TYPE{int(rdataset.rdtype)}"
            lines.append(f"{name} {rdataset.ttl} {shown} {text}\n")
    return "".join(sorted(lines, key=lambda line: " SOA " not in line))


def start_server(folder: Path) -> tuple[Server, frozenset[str]]:
    """Writes the files and starts it; raises AbsentError."""
    gdnsd = program("gdnsd", "gdnsd")
    port = free_port()
    (folder / "zones").mkdir()
    (folder / "config").write_text(config(port, folder))
    (folder / "zones" / APEX.rstrip(".")).write_text(zone())
    version = first_line([gdnsd, "--version"], "gdnsd version").rpartition(" ")[2]
    command = [gdnsd, "-c", folder, "start"]
    return start("gdnsd", command, version=version, port=port, folder=folder, cpu=None), LACKS
