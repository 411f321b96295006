"""The envelope of a sealed snapshot as text: parsed in bounded memory, and stamped with a time.

A stamp is a signed time at which the control plane sent a line as its present snapshot. It is apart
from the snapshot's own signature: a feed stamps a line again without sealing it again, and readers
that know no stamps ignore it.
"""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime, timedelta
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MAX_HEAD = 8192
"""Length of an envelope without its payload, in characters."""
STAMPED_EVERY = timedelta(hours=1)
"""A feed stamps in whole hours, so that all replicas send the same lines."""
VALID_FOR = timedelta(hours=3)
"""A reader without any state takes a snapshot whose stamp differs from its clock by at most this:
the age of a stamp, and the errors of both clocks."""
_PAYLOAD = re.compile(r'"payload"\s*:\s*(?=")')


def open_envelope(line: bytes) -> dict[str, Any]:
    """The envelope's fields; raises ValueError.

    Everything but the payload must be short: a line of hostile JSON takes no more memory and time
    than a string of its length.
    """
    text = line.decode()
    found = _PAYLOAD.search(text, 0, MAX_HEAD)
    if found is None:
        raise ValueError("no payload")
    payload, end = scanstring(text, found.end() + 1)
    if len(text) - (end - found.end()) > MAX_HEAD:
        raise ValueError("too long without its payload")
    envelope = json.loads(f'{text[: found.end()]}""{text[end:]}')
    if not isinstance(envelope, dict):
        raise ValueError("not an object")
    return {**envelope, "payload": payload}


def stamped(line: bytes, key: Ed25519PrivateKey, now: datetime) -> bytes:
    """A sealed line with a stamp of the present hour, signed with `key`; `now` is in UTC."""
    text = now.replace(minute=0, second=0, microsecond=0).isoformat()
    head = json.loads(line[: line.index(b',"payload":')] + b"}")
    signature = base64.b64encode(key.sign(_message(text, head["signature"]))).decode()
    stamp = json.dumps({"stamped_at": text, "stamp": signature}, separators=(",", ":"))
    return stamp[:-1].encode() + b"," + line[1:]


def stamp_fault(line: bytes, trusted: Ed25519PublicKey, now: datetime) -> str | None:
    """Why a line is not the present snapshot of a control plane at `now`; None if it is."""
    try:
        envelope = open_envelope(line)
        text = str(envelope["stamped_at"])
        at = datetime.fromisoformat(text)
        signature = base64.b64decode(envelope["stamp"], validate=True)
        trusted.verify(signature, _message(text, str(envelope["signature"])))
        off = abs(now - at)
    except (ValueError, KeyError, TypeError, RecursionError, InvalidSignature):
        return "it has no valid stamp of the time when it was sent"
    if off <= VALID_FOR:
        return None
    bound = VALID_FOR.total_seconds() / 3600
    return f"it was sent at {at:%Y-%m-%d %H:%M} UTC, more than {bound:.0f} h from this host's clock"


def _message(at: str, signature: str) -> bytes:
    """The signed message; it differs from every message that signs a snapshot."""
    return b"firsthop stamp v1\0" + at.encode() + b"\0" + signature.encode()
