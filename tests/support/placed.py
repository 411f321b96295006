"""A document with one relay in each of some places, for those who ask where clients go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAME = "relay.edge.example."


def document_of(places: Mapping[str, tuple[float, float]], **service: Any) -> dict[str, Any]:
    """`places` are regions by id; `service` are fields of the one service, which is called NAME."""
    return {
        "regions": [
            {"id": id_, "latitude": latitude, "longitude": longitude}
            for id_, (latitude, longitude) in places.items()
        ],
        "relays": [
            {"id": f"{id_}-1", "region": id_, "ipv4": f"192.0.2.{n}", "capacity": 1000}
            for n, id_ in enumerate(places, 1)
        ],
        "zones": [
            {
                "apex": "edge.example.",
                "primary": "ns1.edge.example.",
                "contact": "ops.edge.example.",
                "name_servers": ["ns1.edge.example."],
            }
        ],
        "services": [{"id": "relay", "name": NAME, **service}],
    }
