"""The table of all kinds of probes: names (`ProbeTarget.kind`), and the classes that check."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from firsthop_healthchecks.probes import ProbeCheck
from firsthop_healthchecks.probes.dns import DnsProbe
from firsthop_healthchecks.probes.http import HttpProbe
from firsthop_healthchecks.probes.icmp import IcmpProbe
from firsthop_healthchecks.probes.source import ANY, SourceAddresses
from firsthop_healthchecks.probes.stun import StunProbe
from firsthop_healthchecks.probes.tcp import TcpProbe
from firsthop_healthchecks.probes.tls import TlsProbe
from firsthop_healthchecks.probes.turn import TurnProbe
from firsthop_steering.plan.model import ProbeKind

KINDS: Mapping[ProbeKind, Callable[[SourceAddresses], ProbeCheck]] = {
    "stun": StunProbe,
    "tcp": TcpProbe,
    "tls": TlsProbe,
    "http": HttpProbe,
    "https": HttpProbe,
    "dns": DnsProbe,
    "icmp": IcmpProbe,
    "turn": TurnProbe,
    "path": StunProbe,  # the same packets, which a relay forwards because of their credential
}


def probes_by_kind(source: SourceAddresses = ANY) -> dict[str, ProbeCheck]:
    """A new probe of every kind; their checks are sent from `source`."""
    return {kind: make(source) for kind, make in KINDS.items()}
