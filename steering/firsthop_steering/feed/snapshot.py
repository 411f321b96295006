"""Signed snapshots: their models, and the envelope in which edges receive and store them.

An envelope is one line of JSON. Its `payload` is a string, so the signed bytes are the bytes read
and no canonical form is needed. A snapshot is accepted whole or refused with a reason.

A reader may be older than the writer: it ignores unknown fields at every depth. A snapshot that
cannot be interpreted correctly without a new field names a feature in `requires`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import AwareDatetime, Field, ValidationError, model_validator

from firsthop_steering.feed.envelope import open_envelope
from firsthop_steering.feed.exploration_targets import ExplorationTargets
from firsthop_steering.plan.document import Document, problems_in
from firsthop_steering.plan.model import Family, Liveness, Slug
from firsthop_steering.rtt.geography import PRIOR_MS_PER_KM
from firsthop_steering.rtt.samples import parse_prefix
from firsthop_zones.model import Model

FORMAT = 1
MAX_PRICE_MS = 1000.0
MAX_MS = 10_000.0
"""Bound of the absolute value of an RTT or base; no round trip on Earth takes longer."""
MAX_LEARNED = 50_000
"""Maximum number of prefixes with rows of their own. With 50 regions these make a line of 13 MB,
which is decoded in 0.4 s."""
SnapshotKind = Literal["plan", "status", "keys", "delta", "prices", "latency"]
FEATURES: frozenset[str] = frozenset()
"""Features beyond format 1 that this reader knows and `requires` may name."""
_ROWS_AT_ONCE = 500
_FEATURE = re.compile(r"[a-z0-9-]{1,63}")


class Plan(Model):
    """The operators' configuration, as of one revision."""

    number: int = Field(ge=0)
    """The revision's number; also the serial of every zone."""
    lineage: str = Field(min_length=1, max_length=64)
    """Id of the store that numbers these plans; numbers of different stores are not comparable."""
    created_at: AwareDatetime
    document: Document


class VantageVerdict(Model):
    """One vantage's verdict on one relay, from fresh views."""

    verdict: Liveness
    since: AwareDatetime
    families: dict[Family, Liveness] = Field(default_factory=dict)


class RelayStatus(Model):
    """The measured and reported state of one relay or transceiver."""

    verdict: Liveness = "unknown"
    """Of a relay: the verdict of all vantages, the better one of both families. Of a transceiver:
    whether its reports arrive."""
    since: AwareDatetime | None = None
    families: dict[Family, Liveness] = Field(default_factory=dict)
    """The verdict on each probed address."""
    vantages: dict[Slug, VantageVerdict] = Field(default_factory=dict)
    """The verdict of each vantage; vantages with stale views and excluded ones are omitted."""
    share: int = Field(default=100, ge=1, le=100)
    """Per cent of its weight in effect; below 100 during a slow start after it was down."""
    draining: bool = False
    """Its own agent requests that it get no new sessions."""
    stops_at: AwareDatetime | None = None
    """When it will go down, as announced by its agent; it drains until then."""
    crashed: bool = False
    """Its own agent finds no relay process. An agent's report never makes a relay healthier than
    the probes find it."""
    sessions: int | None = Field(default=None, ge=0)
    load: float | None = Field(default=None, ge=0)
    """Used share of its capacity; 1.0 = full."""
    reported_at: AwareDatetime | None = None
    reason: str = ""


class Status(Model):
    """The latest state of all relays and transceivers; a relay that is not listed is `unknown`."""

    number: int = Field(ge=0)
    lineage: str = Field(min_length=1, max_length=64)
    created_at: AwareDatetime
    relays: dict[Slug, RelayStatus] = Field(default_factory=dict)
    transceivers: dict[Slug, RelayStatus] = Field(default_factory=dict)
    """The transceivers that report; the others are `unknown`."""


class Delta(Model):
    """The difference from status `base` to status `number` of the same lineage."""

    number: int = Field(ge=0)
    base: int = Field(ge=0)
    lineage: str = Field(min_length=1, max_length=64)
    created_at: AwareDatetime
    relays: dict[Slug, RelayStatus] = Field(default_factory=dict)
    """New and changed entries, complete."""
    gone: tuple[Slug, ...] = ()
    transceivers: dict[Slug, RelayStatus] = Field(default_factory=dict)
    gone_transceivers: tuple[Slug, ...] = ()


class Prices(Model):
    """The planner's prices of relay regions in ms; a region that is not listed has price 0."""

    number: int = Field(ge=0)
    lineage: str = Field(min_length=1, max_length=64)
    created_at: AwareDatetime
    now: dict[Slug, Annotated[float, Field(ge=0, le=MAX_PRICE_MS)]] = Field(default_factory=dict)
    without: dict[Slug, dict[Slug, Annotated[float, Field(ge=0, le=MAX_PRICE_MS)]]] = Field(
        default_factory=dict
    )
    """Region → the prices that apply while this region has no relay up, prepared in advance."""


class Latency(Model):
    """Learned round trips to relay regions; see `firsthop_steering.rtt`.

    A client's RTT is the value in the row of its prefix. Without a value it is the prior of the
    region, plus the deviation of the client's country times the spread of a path of that length.
    A region that is not in `regions` has the geographic prior.
    """

    number: int = Field(ge=0)
    lineage: str = Field(min_length=1, max_length=64)
    created_at: AwareDatetime
    regions: tuple[Slug, ...] = ()
    """The region of each column of the fields below."""
    ms_per_km: float = Field(default=PRIOR_MS_PER_KM, ge=0, le=1)
    base_ms: tuple[Annotated[float, Field(ge=-MAX_MS, le=MAX_MS)], ...] = ()
    scale: float = Field(default=1.0, ge=0, le=100)
    """Factor by which paths scatter more than `firsthop_steering.rtt.prior.spread_ms` expects."""
    countries: dict[str, tuple[Annotated[float, Field(ge=-100, le=100)], ...]] = Field(
        default_factory=dict
    )
    """ISO 3166 code → deviations from the prior, in units of a path's spread."""
    prefixes: dict[str, tuple[Annotated[int, Field(ge=0, le=100_000)] | None, ...]] = Field(
        default_factory=dict, max_length=MAX_LEARNED
    )
    """`192.0.2.0/24` or `2001:db8::/48` → RTT in tenths of a millisecond."""
    explore: ExplorationTargets = Field(default_factory=ExplorationTargets)
    """Exploration targets, used by allocators and ignored by answer tables."""

    @model_validator(mode="after")
    def _has_a_number_a_region(self) -> Latency:
        count = len(self.regions)
        if len(set(self.regions)) != count:
            raise ValueError("regions: each must be named once")
        if len(self.base_ms) != count:
            raise ValueError(f"base_ms: must have {count} numbers, one per region")
        for name, rows in (("countries", self.countries), ("prefixes", self.prefixes)):
            odd = next((key for key, row in rows.items() if len(row) != count), None)
            if odd is not None:
                raise ValueError(f"{name}/{odd}: must have {count} numbers, one per region")
        for prefix in self.prefixes:
            parse_prefix(prefix)
        return self


class CredentialKey(Model):
    """One generation of keys: `route` authenticates ufrags, `password` derives passwords."""

    id: int = Field(ge=0, le=63)
    route: str = Field(pattern=r"^[0-9a-f]{64}$")
    password: str = Field(pattern=r"^[0-9a-f]{64}$")
    created_at: AwareDatetime


class KeySet(Model):
    """The credential keys in force; new credentials use the key with the id `signing`."""

    number: int = Field(ge=0)
    lineage: str = Field(min_length=1, max_length=64)
    created_at: AwareDatetime
    signing: int = Field(ge=0, le=63)
    keys: tuple[CredentialKey, ...] = Field(min_length=1)
    allocator_tokens: dict[str, AwareDatetime | None] = Field(default_factory=dict)
    """SHA-256 in hex of every bearer token with the allocator role → its expiry, or null."""


Snapshot = Plan | Status | KeySet | Delta | Prices | Latency
_Models = type[Plan] | type[Status] | type[KeySet] | type[Delta] | type[Prices] | type[Latency]
_MODELS: dict[SnapshotKind, _Models] = {
    "plan": Plan,
    "status": Status,
    "keys": KeySet,
    "delta": Delta,
    "prices": Prices,
    "latency": Latency,
}


@dataclass(frozen=True, slots=True)
class RejectedSnapshot:
    """The reason why a snapshot was refused."""

    reason: str


def _message(kind: str, requires: Sequence[str], payload: bytes) -> bytes:
    """The signed message. It is unambiguous, as kinds and features contain no space and no NUL."""
    return b"firsthop snapshot v1\0" + " ".join((kind, *requires)).encode() + b"\0" + payload


def kind_of(snapshot: Snapshot) -> SnapshotKind:
    """The kind of a snapshot, as named in its envelope."""
    return next(kind for kind, model in _MODELS.items() if isinstance(snapshot, model))


def key_name(key: Ed25519PublicKey) -> str:
    """The id of a public key in envelopes: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def payload_of(snapshot: Snapshot) -> str:
    """A snapshot as JSON.

    Rows of latency are encoded in small batches, so that a thread doing it yields to others.
    """
    rows = snapshot.prefixes if isinstance(snapshot, Latency) else {}
    fields = snapshot.model_dump(mode="json", exclude={"prefixes"} if rows else None)
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    if not rows:
        return text
    items = [*rows.items()]
    parts = [
        json.dumps(dict(items[first : first + _ROWS_AT_ONCE]), separators=(",", ":"))[1:-1]
        for first in range(0, len(items), _ROWS_AT_ONCE)
    ]
    return f'{text[:-1]},"prefixes":{{{",".join(parts)}}}}}'


def seal(snapshot: Snapshot, key: Ed25519PrivateKey, requires: Sequence[str] = ()) -> bytes:
    """The envelope of `snapshot`, signed with `key`: one line including its newline.

    `requires` names, in order, the features that a reader must know.
    """
    kind = kind_of(snapshot)
    payload = payload_of(snapshot).encode()
    envelope = {
        "format": FORMAT,
        "kind": kind,
        "requires": [*requires],
        "key": key_name(key.public_key()),
        "signature": base64.b64encode(key.sign(_message(kind, requires, payload))).decode(),
        "payload": payload.decode(),
    }
    return json.dumps(envelope, separators=(",", ":")).encode() + b"\n"


def unseal(line: bytes, trusted: Ed25519PublicKey) -> Snapshot | RejectedSnapshot:
    """The snapshot in `line` if it is valid and signed with `trusted`, else the reason for refusal.

    An unknown format, kind or required feature is refused; unknown fields are ignored.
    """
    try:
        envelope = open_envelope(line)
        version, kind, requires = envelope["format"], envelope["kind"], _requires(envelope)
        signature = base64.b64decode(envelope["signature"], validate=True)
        payload: bytes = envelope["payload"].encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return RejectedSnapshot(f"not a snapshot envelope: {type(error).__name__}")
    if version != FORMAT:
        return RejectedSnapshot(f"format {version!r} is not {FORMAT}")
    if not isinstance(kind, str) or kind not in _MODELS:
        return RejectedSnapshot(f"kind {kind!r} is not known")
    try:
        trusted.verify(signature, _message(kind, requires, payload))
    except InvalidSignature:
        return RejectedSnapshot(f"the signature is not by key {key_name(trusted)}")
    unknown = [each for each in requires if each not in FEATURES]
    if unknown:
        return RejectedSnapshot(
            f"{kind}: requires {', '.join(unknown)}, which this release does not know"
        )
    return _read(_MODELS[kind], kind, payload)


def _requires(envelope: dict[str, object]) -> list[str]:
    """The envelope's `requires`; empty if absent. Raises TypeError if it is malformed."""
    given = envelope.get("requires", [])
    if not isinstance(given, list):
        raise TypeError
    if not all(isinstance(each, str) and _FEATURE.fullmatch(each) for each in given):
        raise TypeError
    return given


def _read(model: _Models, kind: str, payload: bytes) -> Snapshot | RejectedSnapshot:
    try:
        snapshot: Snapshot = model.model_validate_json(payload, extra="ignore")
    except ValidationError as error:
        fault = error.errors()[0]
        return RejectedSnapshot(f"{kind}: {'/'.join(map(str, fault['loc']))}: {fault['msg']}")
    if isinstance(snapshot, Plan):
        problems = problems_in(snapshot.document)
        if problems:
            return RejectedSnapshot(f"plan {snapshot.number}: {problems[0]}")
    return snapshot


def supersedes(new: Snapshot, old: Snapshot | None) -> bool:
    """Whether `new` may replace `old`.

    Within one lineage the higher number wins, so a replayed snapshot has no effect. A snapshot of
    another lineage (a fresh database) wins if it was created later.
    """
    if old is None:
        return True
    if new.lineage != old.lineage:
        return new.created_at > old.created_at
    return new.number > old.number


def age_s(snapshot: Snapshot, now: datetime) -> float:
    """Seconds since the control plane created it; at least 0."""
    return max(0.0, (now - snapshot.created_at).total_seconds())
