"""The text that `firsthop up` prints when everything runs."""

from __future__ import annotations

from firsthop.addresses import format_listen
from firsthop.up.demo import SERVICE, ZONE
from firsthop.up.settings import UpSettings


def banner(settings: UpSettings, allocator_secret: str | None) -> str:
    """URLs, token files and commands to try; with a secret also the URL of the demo page."""
    dns_host, dns_port = settings.dns
    dig = f"dig @{dns_host} -p {dns_port}"
    api = f"http://{format_listen(*settings.controlplane)}"
    allocator = f"http://{format_listen(*settings.allocator)}"
    admin = settings.state_dir / "admin.token"
    allocator_token = settings.state_dir / "allocator.token"
    bearer = f'-H "Authorization: Bearer $(cat {admin})"'
    talk = f"""
  6. Call yourself through the nearest relay, in a browser on this machine, within an hour:
     {allocator}/demo#token={allocator_secret}
"""
    return f"""
Firsthop is up.

  DNS         {format_listen(*settings.dns)}  (UDP and TCP), zone {ZONE}
  allocator   {allocator}
  API         {api}  (OpenAPI at /openapi.json)
  metrics     http://{format_listen(*settings.metrics)}/metrics
  tokens      {admin} (API), {allocator_token} (allocations)
  logs        {settings.state_dir / "logs"}

Try, from another terminal:

  1. Ask as a client in Germany, then in Brazil:
     {dig} {SERVICE} A +subnet=91.0.0.0/24 +short
     {dig} {SERVICE} A +subnet=200.160.0.0/24 +short
  2. See how you were located, and why:
     {dig} whoami.{ZONE} TXT +subnet=91.0.0.0/24 +short
     curl -s {bearer} '{api}/v1/explain?service=relay&client=91.0.0.1'
  3. Get ICE credentials for that client:
     curl -s -XPOST {allocator}/v1/allocations \\
       -H "Authorization: Bearer $(cat {allocator_token})" -d '{{"client_ip": "91.0.0.1"}}'
  4. Kill Frankfurt's relay, ask again, and watch it come back after 20 s:
     pkill -9 -f 'relay --listen {settings.relay_network[4]}:'
  5. Send half of Frankfurt's clients to other regions:
     curl -s -XPATCH {bearer} -H 'If-Match: *' \\
       -H 'Content-Type: application/json' {api}/v1/regions/fra -d '{{"weight": 50}}'
{talk if allocator_secret else ""}
Ctrl-C stops everything; the next start continues with the same state.
"""
