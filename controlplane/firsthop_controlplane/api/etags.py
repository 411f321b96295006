"""Entity tags of versions, and If-Match (RFC 9110 §8.8.3, §13.1.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from firsthop_controlplane.errors import lost_race, malformed, unconditional

_TAG = re.compile(r'(W/)?"([!#-~\x80-\xff]*)"')


def etag(version: int) -> str:
    """The tag of a version."""
    return f'"{version}"'


def require(fields: Sequence[str], version: int) -> None:
    """Check that a change starts from `version`.

    Raises Refused: 428 without If-Match, 412 if it names other versions, 400 if it has no tag.
    A weak tag never matches, since If-Match uses the strong comparison.
    """
    if not fields:
        raise unconditional()
    value = ", ".join(fields).strip()
    if value == "*":
        return
    tags = [_TAG.fullmatch(part.strip()) for part in value.split(",")]
    if not all(tags):
        raise malformed('If-Match must be an entity tag like "17".')
    if not any(tag and not tag[1] and tag[2] == str(version) for tag in tags):
        raise lost_race(f"The version is {etag(version)} now: read it again, then change it.")
