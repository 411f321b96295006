"""DNS counters: plain integers in one list.

Each set of labels has a slot, so counting a packet is `values[slot] += 1`. The counters are
consistent: requests = responses + drops. The exporter adds up the values of all workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import RLock

from firsthop_dns.wire.edns import RCODE_NAMES
from firsthop_dns.wire.query import AAAA, ANY, CAA, CNAME, HINFO, MX, NS, SOA, TXT, A

REQUESTS = "firsthop_dns_requests_total"
RESPONSES = "firsthop_dns_responses_total"
DROPPED = "firsthop_dns_dropped_total"
REGION_ANSWERS = "firsthop_region_answers_total"
SLIPPED = "firsthop_dns_slipped_total"
SEND_ERRORS = "firsthop_dns_send_errors_total"
TCP_CONNECTIONS = "firsthop_dns_tcp_connections_total"

TYPE_LABELS = {
    A: "A",
    NS: "NS",
    CNAME: "CNAME",
    SOA: "SOA",
    HINFO: "HINFO",
    MX: "MX",
    TXT: "TXT",
    AAAA: "AAAA",
    33: "SRV",
    43: "DS",
    48: "DNSKEY",
    64: "SVCB",
    65: "HTTPS",
    ANY: "ANY",
    CAA: "CAA",
}
"""All other types share one label: clients choose the type, and must not add metrics."""
OTHER_TYPE = "other"
TRANSPORTS = (("udp", "4"), ("udp", "6"), ("tcp", "4"), ("tcp", "6"))
"""Labels proto and family by `Transport`."""

CounterLabels = tuple[tuple[str, str], ...]
CounterKey = tuple[str, CounterLabels]


class DnsCounters:
    """The counters of a process; each table that it loads takes its slots here.

    Several threads may take slots (a new table is loaded off the loop); only one may count.
    """

    __slots__ = ("_blocks", "_growing", "_keys", "_responses", "_slots", "values")

    def __init__(self) -> None:
        self.values: list[int] = []
        self._keys: list[CounterKey] = []
        self._slots: dict[CounterKey, int] = {}
        self._blocks: dict[tuple[str, str], int] = {}
        self._responses: dict[tuple[str, str], int] = {}
        self._growing = RLock()

    def slot(self, metric: str, labels: Mapping[str, str]) -> int:
        """The index in `values` for one metric with these labels."""
        key = metric, tuple(labels.items())
        found = self._slots.get(key)
        if found is None:
            with self._growing:
                found = self._slots.get(key)
                if found is None:
                    found = len(self._keys)
                    self.values.append(0)
                    self._keys.append(key)
                    self._slots[key] = found  # last, as other threads may then find and use it
        return found

    def labels(self, slot: int) -> dict[str, str]:
        """The labels of the metric that is counted in `slot`."""
        return dict(self._keys[slot][1])

    def requests(self, zone: str, kind: str) -> int:
        """The slot of a zone's requests of a type over transport 0; other transports' follow it."""
        found = self._blocks.get((zone, kind))
        if found is None:
            with self._growing:
                found, *_ = (
                    self.slot(
                        REQUESTS, {"zone": zone, "proto": proto, "family": family, "type": kind}
                    )
                    for proto, family in TRANSPORTS
                )
            self._blocks[zone, kind] = found
        return found

    def response(self, zone: str, rcode: str) -> int:
        """The slot of responses of a zone with this rcode."""
        found = self._responses.get((zone, rcode))
        if found is None:
            found = self.slot(RESPONSES, {"zone": zone, "rcode": rcode})
            self._responses[zone, rcode] = found
        return found

    def asked(self, zone: str, qtype: int, transport: int) -> None:
        """Count a request; `zone` is empty if the name is in none of our zones."""
        kind = TYPE_LABELS.get(qtype, OTHER_TYPE)
        self.values[self.requests(zone, kind) + transport] += 1

    def answered(self, zone: str, rcode: int) -> None:
        """Count a response."""
        self.values[self.response(zone, RCODE_NAMES[rcode])] += 1

    def dropped(self, reason: str) -> None:
        """Count a request that is not answered."""
        self.values[self.slot(DROPPED, {"reason": reason})] += 1

    def count(self, metric: str) -> None:
        """Count a metric without labels."""
        self.values[self.slot(metric, {})] += 1

    def snapshot(self) -> dict[str, list[tuple[dict[str, str], int]]]:
        """All values above 0 by metric, ready for JSON and for Prometheus."""
        found: dict[str, list[tuple[dict[str, str], int]]] = {}
        for metric, labels, value in self._rows():
            if value:
                found.setdefault(metric, []).append((dict(labels), value))
        return found

    def total(self, metric: str) -> int:
        """The sum of one metric over all labels."""
        return sum(value for each, _, value in self._rows() if each == metric)

    def _rows(self) -> list[tuple[str, CounterLabels, int]]:
        with self._growing:
            return [
                (metric, labels, value)
                for (metric, labels), value in zip(self._keys, self.values, strict=True)
            ]
