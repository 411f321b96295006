"""Unbound as the strictest of resolvers in front of one authoritative server of 127.0.0.1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.peers.process import AbsentError, Server, first_line, free_port, start

from wire.servers.same import program


def config(
    port: int, upstream: int, zones: Sequence[str], folder: Path, *, minimising: bool
) -> str:
    """The text of unbound.conf: no traffic but to `upstream`, nothing kept beyond its TTL."""
    stubs = "".join(
        f"stub-zone:\n    name: {zone}\n    stub-addr: 127.0.0.1@{upstream}\n" for zone in zones
    )
    minimised = "yes" if minimising else "no"
    return f"""server:
    interface: 127.0.0.1
    port: {port}
    access-control: 127.0.0.0/8 allow
    directory: "{folder}"
    chroot: ""
    username: ""
    pidfile: "{folder}/unbound.pid"
    use-syslog: no
    verbosity: 1
    num-threads: 1
    do-daemonize: no
    do-ip6: no
    do-not-query-localhost: no
    module-config: "subnetcache iterator"
    send-client-subnet: 127.0.0.1
    client-subnet-always-forward: yes
    max-client-subnet-ipv4: 24
    max-client-subnet-ipv6: 48
    qname-minimisation: {minimised}
    qname-minimisation-strict: {minimised}
    use-caps-for-id: yes
    minimal-responses: no
    rrset-roundrobin: no
    local-zone: "test." nodefault
    private-domain: "test."
    unwanted-reply-threshold: 0
remote-control:
    control-enable: no
{stubs}"""


def start_server(
    upstream: int, zones: Sequence[str], folder: Path, *, minimising: bool = True
) -> Server:
    """Writes the file and starts it; raises AbsentError."""
    unbound = program("unbound", "unbound")
    modules = first_line([unbound, "-V"], "Linked modules")
    if "subnetcache" not in modules:
        raise AbsentError("this unbound has no module subnetcache")
    port = free_port()
    (folder / "unbound.conf").write_text(
        config(port, upstream, zones, folder, minimising=minimising)
    )
    version = first_line([unbound, "-V"], "Version").rpartition(" ")[2]
    command = [unbound, "-d", "-p", "-c", folder / "unbound.conf"]
    return start("Unbound", command, version=version, port=port, folder=folder, cpu=None)
