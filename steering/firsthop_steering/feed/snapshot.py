"""Signed snapshots: what travels from the control plane to the edges, and lies on their disks.

An envelope is one line of JSON. Its `payload` is a string, so what was signed is what is read: no
canonical form has to be agreed on. A snapshot is accepted whole or refused with a reason.

A reader may be older than what it reads: fields that it does not know are ignored at every depth,
and what cannot be read rightly without knowing them names a feature in `requires`.
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

from firsthop_steering.feed.exploration_targets import ExplorationTargets
from firsthop_steering.plan.document import Document, problems_in
from firsthop_steering.plan.model import Family, Liveness, Slug
from firsthop_steering.rtt.geography import PRIOR_MS_PER_KM
from firsthop_steering.rtt.samples import parse_prefix
from firsthop_zones.model import Model

FORMAT = 1
MAX_PRICE_MS = 1000.0
MAX_MS = 10_000.0
"""No round trip of two hosts on this planet takes longer; in size, for a base may be below 0."""
MAX_LEARNED = 50_000
"""Prefixes with a row of their own: with 50 regions a line of 13 MB, and 0.4 s to read."""
SnapshotKind = Literal["plan", "status", "keys", "delta", "prices", "latency"]
FEATURES: frozenset[str] = frozenset()
"""What `requires` may name: features beyond format 1 that this reader knows."""
_ROWS_AT_ONCE = 500
_FEATURE = re.compile(r"[a-z0-9-]{1,63}")


class Plan(Model):
    """What the operators want, as of one revision."""

    number: int = Field(ge=0)
    """The revision's number; also the serial of every zone."""
    lineage: str = Field(min_length=1, max_length=64)
    """The store that numbers these plans: numbers of different stores do not compare."""
    created_at: AwareDatetime
    document: Document


class VantageVerdict(Model):
    """What one vantage says of one relay, while its views are fresh."""

    verdict: Liveness
    since: AwareDatetime
    families: dict[Family, Liveness] = Field(default_factory=dict)


class RelayStatus(Model):
    """What is known of one relay, or of a transceiver by its own word."""

    verdict: Liveness = "unknown"
    """From the probes of all vantages, the better of both families; of a transceiver, whether it is
    heard."""
    since: AwareDatetime | None = None
    families: dict[Family, Liveness] = Field(default_factory=dict)
    """The verdict on each address that is checked."""
    vantages: dict[Slug, VantageVerdict] = Field(default_factory=dict)
    """What each vantage says by itself; one whose views are stale, or that is excluded, is not
    named."""
    share: int = Field(default=100, ge=1, le=100)
    """Per cent of its weight while it starts slowly after it was down."""
    draining: bool = False
    """Its own agent asks for no new sessions."""
    stops_at: AwareDatetime | None = None
    """When it goes down, as its agent says; it drains until then."""
    crashed: bool = False
    """Its own agent says that it is not there. Nothing an agent says makes a relay better than the
    probes find it."""
    sessions: int | None = Field(default=None, ge=0)
    load: float | None = Field(default=None, ge=0)
    """Used share of its capacity, 1.0 = full."""
    reported_at: AwareDatetime | None = None
    reason: str = ""


class Status(Model):
    """What is measured, newest word on each relay; a relay that is not named is `unknown`."""

    number: int = Field(ge=0)
    lineage: str = Field(min_length=1, max_length=64)
    created_at: AwareDatetime
    relays: dict[Slug, RelayStatus] = Field(default_factory=dict)
    transceivers: dict[Slug, RelayStatus] = Field(default_factory=dict)
    """Those that report; the others are `unknown` as well."""


class Delta(Model):
    """What is different in the status `number` from the status `base` of the same lineage."""

    number: int = Field(ge=0)
    base: int = Field(ge=0)
    lineage: str = Field(min_length=1, max_length=64)
    created_at: AwareDatetime
    relays: dict[Slug, RelayStatus] = Field(default_factory=dict)
    """New or changed ones, whole."""
    gone: tuple[Slug, ...] = ()
    transceivers: dict[Slug, RelayStatus] = Field(default_factory=dict)
    gone_transceivers: tuple[Slug, ...] = ()


class Prices(Model):
    """What the planner charges relay regions, in ms; one that is not named costs nothing."""

    number: int = Field(ge=0)
    lineage: str = Field(min_length=1, max_length=64)
    created_at: AwareDatetime
    now: dict[Slug, Annotated[float, Field(ge=0, le=MAX_PRICE_MS)]] = Field(default_factory=dict)
    without: dict[Slug, dict[Slug, Annotated[float, Field(ge=0, le=MAX_PRICE_MS)]]] = Field(
        default_factory=dict
    )
    """What holds while the region of this name has no relay up: ready before it is lost."""


class Latency(Model):
    """What is learned of round trips to relay regions; see `firsthop_steering.rtt`.

    For a client it is the row of its prefix; else the prior of each region, to which its country
    adds so many of the spreads that a path of that length has. A region that is not in `regions`,
    and a place without a number, has the geographic prior.
    """

    number: int = Field(ge=0)
    lineage: str = Field(min_length=1, max_length=64)
    created_at: AwareDatetime
    regions: tuple[Slug, ...] = ()
    """What the columns below stand for."""
    ms_per_km: float = Field(default=PRIOR_MS_PER_KM, ge=0, le=1)
    base_ms: tuple[Annotated[float, Field(ge=-MAX_MS, le=MAX_MS)], ...] = ()
    scale: float = Field(default=1.0, ge=0, le=100)
    """How much wider paths scatter than `firsthop_steering.rtt.prior.spread_ms` expects."""
    countries: dict[str, tuple[Annotated[float, Field(ge=-100, le=100)], ...]] = Field(
        default_factory=dict
    )
    """ISO 3166 code → deviation from the prior, in spreads of a path."""
    prefixes: dict[str, tuple[Annotated[int, Field(ge=0, le=100_000)] | None, ...]] = Field(
        default_factory=dict, max_length=MAX_LEARNED
    )
    """`192.0.2.0/24` or `2001:db8::/48` → RTT in tenths of a millisecond."""
    explore: ExplorationTargets = Field(default_factory=ExplorationTargets)
    """Where clients may look for better ones. Allocators go by it; answer tables do not."""

    @model_validator(mode="after")
    def _has_a_number_a_region(self) -> Latency:
        count = len(self.regions)
        if len(set(self.regions)) != count:
            raise ValueError("regions: each must be named once")
        if len(self.base_ms) != count:
            raise ValueError(f"base_ms: must have {count} numbers, one a region")
        for name, rows in (("countries", self.countries), ("prefixes", self.prefixes)):
            odd = next((key for key, row in rows.items() if len(row) != count), None)
            if odd is not None:
                raise ValueError(f"{name}/{odd}: must have {count} numbers, one a region")
        for prefix in self.prefixes:
            parse_prefix(prefix)
        return self


class CredentialKey(Model):
    """One generation of secrets: `route` authenticates ufrags, `password` derives passwords."""

    id: int = Field(ge=0, le=63)
    route: str = Field(pattern=r"^[0-9a-f]{64}$")
    password: str = Field(pattern=r"^[0-9a-f]{64}$")
    created_at: AwareDatetime


class KeySet(Model):
    """The credential keys in force; `signing` is the one that new credentials use."""

    number: int = Field(ge=0)
    lineage: str = Field(min_length=1, max_length=64)
    created_at: AwareDatetime
    signing: int = Field(ge=0, le=63)
    keys: tuple[CredentialKey, ...] = Field(min_length=1)
    allocator_tokens: dict[str, AwareDatetime | None] = Field(default_factory=dict)
    """SHA-256 in hex of every bearer token with the allocator role, and when it expires."""


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
    """A snapshot that was not accepted, and why."""

    reason: str


def _message(kind: str, requires: Sequence[str], payload: bytes) -> bytes:
    """What is signed; neither a kind nor a feature holds a space or a NUL."""
    return b"firsthop snapshot v1\0" + " ".join((kind, *requires)).encode() + b"\0" + payload


def kind_of(snapshot: Snapshot) -> SnapshotKind:
    """The envelope's word for this snapshot."""
    return next(kind for kind, model in _MODELS.items() if isinstance(snapshot, model))


def key_name(key: Ed25519PublicKey) -> str:
    """The first 16 hex digits of the SHA-256 of a public key: names it in envelopes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def payload_of(snapshot: Snapshot) -> str:
    """A snapshot as JSON.

    Many rows of latency are written a few at a time, so that a thread which does it gives way.
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
    """One line (with its newline) that carries `snapshot` signed by `key`.

    `requires` names, in order, the features that a reader must know to read it rightly.
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
    """The snapshot in `line` if `trusted` signed it and it holds together, else why not.

    A format, a kind or a required feature that this reader does not know is refused; a field that
    it does not know is ignored.
    """
    try:
        envelope = json.loads(line)
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
    """An envelope without the list requires nothing. Raises TypeError."""
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
    """Whether `new` may take the place of `old`.

    Within one store numbers only rise, so a replayed snapshot changes nothing. Another store (a
    fresh database) wins by its clock.
    """
    if old is None:
        return True
    if new.lineage != old.lineage:
        return new.created_at > old.created_at
    return new.number > old.number


def age_s(snapshot: Snapshot, now: datetime) -> float:
    """Seconds since the control plane made it, never below 0."""
    return max(0.0, (now - snapshot.created_at).total_seconds())
