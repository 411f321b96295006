"""The demo deployment: eight regions in real cities, relays on loopback, two transceivers."""

from __future__ import annotations

from ipaddress import IPv4Network

from firsthop_steering.plan.document import Document

ZONE = "edge.example."
SERVICE = "relay.edge.example."
SIGNALLING = "signal.edge.example."

REGIONS = (
    ("iad", "Ashburn", 39.04, -77.49),
    ("sjc", "San Jose", 37.34, -121.89),
    ("gru", "São Paulo", -23.55, -46.63),
    ("fra", "Frankfurt", 50.11, 8.68),
    ("jnb", "Johannesburg", -26.20, 28.05),
    ("bom", "Mumbai", 19.08, 72.88),
    ("sin", "Singapore", 1.35, 103.82),
    ("syd", "Sydney", -33.87, 151.21),
)
TRANSCEIVER_REGIONS = (("us-east", 39.04, -77.49), ("eu-central", 50.11, 8.68))


def demo_document(relays: IPv4Network, transceivers: IPv4Network) -> Document:
    """The demo's document. Relay N of 8 has host N of `relays` and UDP port 3478; transceiver N of
    2 has host N of `transceivers`, UDP port 3479 and HTTP port 8082.

    IPv6 addresses are from the documentation prefix (RFC 3849); they are not bound, so they are not
    probed and not answered.
    """
    return Document.model_validate(
        {
            "regions": [
                {"id": id_, "name": name, "latitude": latitude, "longitude": longitude}
                for id_, name, latitude, longitude in REGIONS
            ],
            "relays": [
                {
                    "id": f"{id_}-1",
                    "region": id_,
                    "ipv4": relays[number],
                    "ipv6": f"2001:db8:10::{number}",
                    "capacity": 1000,
                    "probe": {"families": ["ipv4"]},
                }
                for number, (id_, *_) in enumerate(REGIONS, start=1)
            ],
            "transceiver_regions": [
                {"id": id_, "latitude": latitude, "longitude": longitude}
                for id_, latitude, longitude in TRANSCEIVER_REGIONS
            ],
            "transceivers": [
                {
                    "id": f"{id_}-1",
                    "region": id_,
                    "host": transceivers[number],
                    "port": 3479,
                    "signalling_ipv4": transceivers[number],
                    "signalling_port": 8082,
                }
                for number, (id_, *_) in enumerate(TRANSCEIVER_REGIONS, start=1)
            ],
            "zones": [
                {
                    "apex": ZONE,
                    "primary": f"ns1.{ZONE}",
                    "contact": f"hostmaster.{ZONE}",
                    "name_servers": [f"ns1.{ZONE}", f"ns2.{ZONE}"],
                    "records": [
                        {"owner": f"ns1.{ZONE}", "type": "A", "rdata": "127.0.0.1"},
                        {"owner": f"ns2.{ZONE}", "type": "A", "rdata": "127.0.0.1"},
                        {"owner": f"www.{ZONE}", "type": "CNAME", "rdata": SERVICE},
                        {"owner": ZONE, "type": "TXT", "rdata": '"Firsthop demo"'},
                        {"owner": ZONE, "type": "MX", "rdata": f"10 mail.{ZONE}"},
                        {"owner": f"mail.{ZONE}", "type": "A", "rdata": "192.0.2.25"},
                        {"owner": ZONE, "type": "CAA", "rdata": '0 issue ";"'},
                    ],
                }
            ],
            "services": [
                {"id": "relay", "name": SERVICE, "ttl": 30},
                {"id": "signal", "name": SIGNALLING, "pool": "transceivers", "ttl": 30},
            ],
        }
    )
