"""Listening addresses as operators write them: `127.0.0.1:5300`, `[::1]:5300`, comma lists."""

from __future__ import annotations

from ipaddress import ip_address

Listen = tuple[str, int]
NONE = "none"
"""Means no address; an empty environment variable cannot, as it counts as unset."""


def parse_listen(text: str) -> list[Listen]:
    """The (host, port) pairs of a comma-separated list; `none` (or an empty text) gives none.

    Raises ValueError with the entry and the rule that it breaks.
    """
    if text.strip() == NONE:
        return []
    return [_parse_one(entry.strip()) for entry in text.split(",") if entry.strip()]


def _parse_one(entry: str) -> Listen:
    host, colon, port = entry.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    try:
        address = ip_address(bare)
    except ValueError:
        raise ValueError(f"{entry}: must be ADDRESS:PORT with an IP address") from None
    if not colon or (address.version == 6) != host.startswith("["):
        raise ValueError(f"{entry}: must be ADDRESS:PORT, an IPv6 address in brackets")
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{entry}: the port must be 0 to 65535")
    return str(address), int(port)


def format_listen(host: str, port: int) -> str:
    """One pair as text that `parse_listen` reads."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
