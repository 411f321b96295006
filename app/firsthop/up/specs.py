"""The child processes of a deployment: their arguments and environments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from firsthop.addresses import format_listen
from firsthop.controlplane.machine_tokens import MachineTokens
from firsthop.up.settings import UpSettings
from firsthop_steering.plan.document import Document
from firsthop_steering.plan.model import Relay

RELAY_RESTART_S = 20.0
"""Long enough to see the answers move away from a killed relay, and back."""
VANTAGES = ("vantage-a", "vantage-b", "vantage-c")
AGENT_PORT = 9154
"""TCP port, at a demo relay's own address, at which its agent reads the relay's counters."""
LOOPBACK = IPv4Network("127.0.0.0/8")


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to start one child process."""

    name: str
    arguments: list[str]
    environment: dict[str, str]
    restart_after_s: float = 0.0
    needs: Path | None = None
    """A file that must exist before it starts."""


class ChildSpecs:
    """The children of one deployment."""

    def __init__(self, settings: UpSettings, tokens: MachineTokens) -> None:
        self._settings = settings
        self._state = settings.state_dir
        self._tokens = tokens
        self._api = f"http://{format_listen(*settings.controlplane)}"

    def control_plane(self, database_url: str) -> ChildSpec:
        """The control plane."""
        return ChildSpec(
            "controlplane",
            ["controlplane", "--bootstrap-tokens", str(self._tokens.path)],
            {
                "FIRSTHOP_ALLOW_LOOPBACK": "1",
                "FIRSTHOP_DATABASE_URL": database_url,
                "FIRSTHOP_CONTROLPLANE_LISTEN": format_listen(*self._settings.controlplane),
                "FIRSTHOP_STATE_DIR": str(self._state),
            },
        )

    def edge(self, stage: Path) -> ChildSpec:
        """The edge; `stage` is the control socket of its demo page."""
        settings = self._settings
        environment = {
            **self._machine("edge"),
            "FIRSTHOP_SNAPSHOT_KEY": str(self._state / "snapshot.pub"),
            "FIRSTHOP_STATE_DIR": str(self._state / "edge"),
            "FIRSTHOP_DNS_LISTEN": format_listen(*settings.dns),
            "FIRSTHOP_DNS_WORKERS": str(settings.dns_workers),
            "FIRSTHOP_ALLOCATOR_LISTEN": format_listen(*settings.allocator),
            "FIRSTHOP_ALLOCATOR_DEMO": "1",
            "FIRSTHOP_ALLOCATOR_DEMO_STAGE": str(stage.resolve()),
            "FIRSTHOP_METRICS_LISTEN": format_listen(*settings.metrics),
        }
        if settings.geoip_city:
            environment["FIRSTHOP_GEOIP_CITY"] = str(settings.geoip_city)
        if settings.geoip_asn:
            environment["FIRSTHOP_GEOIP_ASN"] = str(settings.geoip_asn)
        return ChildSpec("edge", ["edge"], environment)

    def relays(self, document: Document) -> Iterator[ChildSpec]:
        """The relays on loopback addresses."""
        routes = self._state / "routes.json"
        for relay in _local(document):
            yield ChildSpec(
                f"relay-{relay.id}",
                ["relay", "--listen", format_listen(str(relay.ipv4), relay.udp_port)],
                {
                    "FIRSTHOP_ROUTE_KEYS": str(self._state / "route.keys"),
                    "FIRSTHOP_ROUTES": str(routes),
                    "FIRSTHOP_RELAY_STATE_DIR": str(self._state / f"relay-{relay.id}"),
                    "FIRSTHOP_RELAY_METRICS": format_listen(str(relay.ipv4), AGENT_PORT),
                },
                restart_after_s=RELAY_RESTART_S,
                needs=routes,
            )

    def transceivers(self, document: Document) -> Iterator[ChildSpec]:
        """The transceivers on loopback addresses."""
        for each in document.transceivers:
            signalling = each.signalling_ipv4
            if each.host not in LOOPBACK or signalling is None or signalling not in LOOPBACK:
                continue
            keys = self._state / "regions" / f"{each.region}.keys"
            yield ChildSpec(
                f"transceiver-{each.id}",
                ["transceiver", "--listen", format_listen(str(each.host), each.port)],
                {
                    "FIRSTHOP_TRANSCEIVER_SIGNALLING": format_listen(
                        str(signalling), each.signalling_port or 0
                    ),
                    "FIRSTHOP_TRANSCEIVER_WIRE_ID": str(each.wire_id),
                    "FIRSTHOP_REGION_KEYS": str(keys),
                },
                needs=keys,
            )

    def probers(self) -> Iterator[ChildSpec]:
        """One prober per vantage."""
        for vantage in VANTAGES:
            environment = {
                **self._machine(vantage),
                "FIRSTHOP_PROBER_ID": vantage,
                "FIRSTHOP_VANTAGE": vantage,
                "FIRSTHOP_STATE_DIR": str(self._state / vantage),
                "FIRSTHOP_ALLOW_TARGETS": f"{LOOPBACK},::1/128,0.0.0.0/0,::/0",
            }
            yield ChildSpec(f"prober-{vantage}", ["prober"], environment)

    def agents(self, document: Document) -> Iterator[ChildSpec]:
        """One agent per relay."""
        for relay in _local(document):
            environment = {
                **self._machine(f"agent-{relay.id}"),
                "FIRSTHOP_RELAY_ID": relay.id,
                "FIRSTHOP_RELAY_METRICS_URL": f"http://{relay.ipv4}:{AGENT_PORT}/metrics",
            }
            yield ChildSpec(f"agent-{relay.id}", ["agent"], environment)

    def _machine(self, name: str) -> dict[str, str]:
        return {"FIRSTHOP_API_URL": self._api, "FIRSTHOP_TOKEN": self._tokens[name]}


def _local(document: Document) -> list[Relay]:
    return [each for each in document.relays if each.ipv4 and each.ipv4 in LOOPBACK]
