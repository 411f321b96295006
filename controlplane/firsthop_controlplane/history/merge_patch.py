"""JSON merge patches (RFC 7396) between objects in which no field is null."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def changes_between(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The patch that turns `old` into `new`."""
    found: dict[str, Any] = dict.fromkeys(old.keys() - new.keys())
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inner := changes_between(before, value):
                found[name] = inner
        elif value != before:
            found[name] = value
    return found


def change(target: dict[str, Any], patch: Mapping[str, Any]) -> None:
    """Apply a patch in place (RFC 7396 §2)."""
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        elif isinstance(value, Mapping):
            before = target.get(name)
            if not isinstance(before, dict):
                before = target[name] = {}
            change(before, value)
        else:
            target[name] = value
