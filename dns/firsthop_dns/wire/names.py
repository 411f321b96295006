"""Domain names on the wire (RFC 1035 §3.1): length-prefixed labels, lower-cased, used as keys.

Lower-casing whole wire names is safe: a length octet is at most 63, below `A`.
"""

from __future__ import annotations

from collections.abc import Iterator

ROOT = b"\0"


def parent(name: bytes) -> bytes:
    """The name without its first label; undefined for the root, which has no label."""
    return name[name[0] + 1 :]


def ancestors(name: bytes) -> Iterator[bytes]:
    """The names above `name`, nearest first, down to the root."""
    while name != ROOT:
        name = parent(name)
        yield name


def behind_owner(record: bytes) -> int:
    """The offset of the type in a record whose owner is a pointer or the root."""
    return 2 if record[0] else 1


def depth(name: bytes) -> int:
    """How many labels a name has; the root has none."""
    found = offset = 0
    while name[offset]:
        found, offset = found + 1, offset + name[offset] + 1
    return found


def within(name: bytes, apex: bytes) -> bool:
    """Whether `name` is `apex` or lies below it, label by label (RFC 2181 §11)."""
    return name == apex or apex in ancestors(name)
