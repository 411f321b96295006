"""BIND's named on the sample zone."""

from __future__ import annotations

from pathlib import Path

from bench.peers.process import Server, first_line, free_port, start

from wire.servers.same import APEX, COOKIE_SECRET, NSID, ZONE_FILE, program


def config(port: int, folder: Path) -> str:
    """The text of named.conf: no recursion, no traffic of its own."""
    return f"""options {{
    directory "{folder}";
    pid-file "{folder}/named.pid";
    session-keyfile "{folder}/session.key";
    lock-file none;
    listen-on port {port} {{ 127.0.0.1; }};
    listen-on-v6 {{ none; }};
    recursion no;
    allow-query {{ any; }};
    allow-transfer {{ none; }};
    notify no;
    dnssec-validation no;
    empty-zones-enable no;
    check-names primary ignore;
    zone-statistics none;
    server-id "{NSID}";
    version none;
    hostname none;
    answer-cookie yes;
    cookie-secret "{COOKIE_SECRET}";
    minimal-any yes;
    minimal-responses no-auth;
    max-udp-size 1232;
    edns-udp-size 1232;
    max-records-per-type 0;
}};
controls {{ }};
zone "." {{ type hint; file "hints"; }};
zone "{APEX}" {{ type primary; file "{ZONE_FILE}"; check-integrity no; }};
"""


def start_server(folder: Path) -> tuple[Server, frozenset[str]]:
    """Writes the files and starts it; raises AbsentError."""
    named = program("named", "bind9")
    port = free_port()
    (folder / "named.conf").write_text(config(port, folder))
    # A root that is not there: else it would look for the real one.
    (folder / "hints").write_text(". 3600000 NS ns.invalid.\nns.invalid. 3600000 A 127.0.0.1\n")
    version = first_line([named, "-v"]).split()[1].partition("-")[0]
    command = [named, "-g", "-n", "1", "-c", folder / "named.conf"]
    return start("BIND", command, version=version, port=port, folder=folder, cpu=None), frozenset()
