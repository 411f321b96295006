"""Snapshots are taken whole and signed, or refused with a reason."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from firsthop_steering.feed import snapshot as snapshots
from firsthop_steering.feed.exploration_targets import (
    ExplorationTarget,
    ExplorationTargets,
    location_key,
)
from firsthop_steering.feed.snapshot import (
    CredentialKey,
    Delta,
    KeySet,
    Latency,
    RejectedSnapshot,
    Snapshot,
    age_s,
    kind_of,
    seal,
    supersedes,
    unseal,
)
from support.schemas import Schemas, json_values
from support.worlds import NOW, plan_of, status_of

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(32))
PLAN = plan_of({"regions": [{"id": "fra", "latitude": 50, "longitude": 8}]})
KEYS = KeySet(
    number=1,
    lineage="test",
    created_at=NOW,
    signing=3,
    keys=(CredentialKey(id=3, route="ab" * 32, password="cd" * 32, created_at=NOW),),
)
SCHEMAS = {
    kind: Schemas({"components": {"schemas": schema.get("$defs", {})}}, ["fra"]).values(schema)
    for kind, model in snapshots._MODELS.items()
    for schema in (model.model_json_schema(ref_template="#/$defs/{model}"),)
}
DELTA = Delta(number=3, base=2, lineage="test", created_at=NOW, gone=("fra-1",))


@pytest.mark.parametrize("snapshot", [PLAN, status_of(2, fra_1="down"), KEYS, DELTA], ids=kind_of)
def test_what_was_sealed_is_what_is_read(snapshot: Snapshot) -> None:
    """One line each, and the same value again."""
    line = seal(snapshot, KEY)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert unseal(line, KEY.public_key()) == snapshot


def reason(line: bytes) -> str:
    result = unseal(line, KEY.public_key())
    assert isinstance(result, RejectedSnapshot), result
    return result.reason


def with_field(field: str, value: object) -> bytes:
    envelope = json.loads(seal(PLAN, KEY))
    envelope[field] = value
    return json.dumps(envelope).encode()


def test_refusals_say_why() -> None:
    """Another key, another format, another kind, a changed payload, no envelope at all."""
    assert "signature is not by key" in reason(seal(PLAN, OTHER))
    assert "format 2" in reason(with_field("format", 2))
    assert "kind 'news'" in reason(with_field("kind", "news"))
    assert "kind ['x']" in reason(with_field("kind", ["x"]))
    assert "signature" in reason(with_field("kind", "status"))
    assert "signature" in reason(with_field("payload", "{}"))
    assert "not a snapshot envelope" in reason(with_field("payload", 5))
    assert "not a snapshot envelope" in reason(b"")
    assert "not a snapshot envelope" in reason(b"[" * 100_000)


def test_a_signed_plan_that_does_not_hold_together_is_refused() -> None:
    """The signature says who; it does not say that it can be used."""
    relay = {"id": "a", "region": "nowhere", "ipv4": "192.0.2.1"}
    assert "names no region" in reason(seal(plan_of({"relays": [relay]}), KEY))
    unknown = PLAN.model_dump_json().replace('"number":1', '"number":1,"future":1')
    assert "signature" in reason(with_field("payload", unknown))


def signed(kind: str, payload: dict[str, object], requires: list[str] | None = None) -> bytes:
    """What a control plane of another release may send."""
    text = json.dumps(payload).encode()
    message = (
        b"firsthop snapshot v1\0" + " ".join([kind, *(requires or [])]).encode() + b"\0" + text
    )
    envelope = {
        "format": 1,
        "kind": kind,
        "signature": base64.b64encode(KEY.sign(message)).decode(),
        "payload": text.decode(),
    }
    return json.dumps(envelope if requires is None else envelope | {"requires": requires}).encode()


def test_fields_of_a_newer_release_are_ignored_at_every_depth() -> None:
    """An old edge reads what a newer control plane says, but for what it cannot know."""
    payload = PLAN.model_dump(mode="json") | {"future": 1}
    payload["document"]["future"] = {"x": []}
    payload["document"]["regions"][0]["future"] = "x"
    assert unseal(signed("plan", payload), KEY.public_key()) == PLAN
    status = status_of(2, fra_1="down").model_dump(mode="json")
    status["relays"]["fra-1"]["future"] = {"deep": {"deeper": 1}}
    assert unseal(signed("status", status, []), KEY.public_key()) == status_of(2, fra_1="down")


def test_a_required_feature_that_is_not_known_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All that are not known are named; a reader that knows them takes the snapshot."""
    line = seal(PLAN, KEY, ("shards", "tides"))
    assert reason(line) == "plan: requires shards, tides, which this release does not know"
    monkeypatch.setattr(snapshots, "FEATURES", frozenset({"shards"}))
    assert reason(line) == "plan: requires tides, which this release does not know"
    monkeypatch.setattr(snapshots, "FEATURES", frozenset({"shards", "tides"}))
    assert unseal(line, KEY.public_key()) == PLAN


def test_what_is_required_is_signed() -> None:
    """Nobody on the way adds a feature or takes one away."""
    envelope = json.loads(seal(PLAN, KEY, ("tides",)))
    for requires in ([], ["shards"], ["tides", "shards"]):
        assert "signature" in reason(json.dumps(envelope | {"requires": requires}).encode())
    del envelope["requires"]
    assert "signature" in reason(json.dumps(envelope).encode())
    for bad in ("tides", [1], ["a b"], None):
        assert "not a snapshot envelope" in reason(with_field("requires", bad))


@pytest.mark.fuzz
@given(st.integers(0, 10**6), st.integers(1, 255))
@settings(max_examples=200)
def test_a_turned_bit_is_never_another_plan(place: int, change: int) -> None:
    """Wherever a sealed line is changed, it is refused or says the same."""
    line = bytearray(seal(PLAN, KEY))
    line[place % len(line)] ^= change
    result = unseal(bytes(line), KEY.public_key())
    assert isinstance(result, RejectedSnapshot) or result == PLAN


@pytest.mark.fuzz
@given(data=st.data(), kind=st.sampled_from([*SCHEMAS]))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_any_signed_line_is_read_or_refused(data: st.DataObject, kind: str) -> None:
    """Whatever a control plane signs with its key, of another release or by mistake; and what is
    read can be compared and dated."""
    payload = json.dumps(data.draw(SCHEMAS[kind])).encode()
    signature = KEY.sign(snapshots._message(kind, (), payload))
    envelope = {"format": snapshots.FORMAT, "kind": kind, "payload": payload.decode()}
    envelope["signature"] = base64.b64encode(signature).decode()
    envelope |= data.draw(st.dictionaries(st.sampled_from([*envelope]), json_values, max_size=1))
    read = unseal(json.dumps(envelope).encode(), KEY.public_key())
    if isinstance(read, RejectedSnapshot):
        assert read.reason
    else:
        supersedes(read, PLAN)
        age_s(read, NOW)


def test_only_newer_snapshots_take_over() -> None:
    """Numbers within one store; across stores the clock."""
    newer = PLAN.model_copy(update={"number": 2})
    assert supersedes(PLAN, None)
    assert supersedes(newer, PLAN)
    assert not supersedes(PLAN, newer)
    assert not supersedes(PLAN, PLAN)
    fresh = PLAN.model_copy(update={"lineage": "new", "created_at": NOW + timedelta(seconds=1)})
    assert supersedes(fresh, newer)
    assert not supersedes(newer, fresh)


def test_age_is_never_negative() -> None:
    """A clock that steps back makes a snapshot new, not from the future."""
    assert age_s(PLAN, NOW + timedelta(seconds=5)) == 5
    assert age_s(PLAN, NOW - timedelta(hours=1)) == 0


def test_many_rows_of_latency_are_sealed_as_few_are() -> None:
    """They are written some at a time, which nobody sees who reads them."""
    for count in (0, 1, 500, 501, 1700):
        latency = Latency(
            number=1,
            lineage="store",
            created_at=NOW,
            regions=("fra", "nyc"),
            base_ms=(4.0, 4.5),
            prefixes={f"10.{n // 256}.{n % 256}.0/24": (n, None) for n in range(count)},
        )
        assert unseal(seal(latency, KEY), KEY.public_key()) == latency


def test_what_is_promised_travels_with_latency() -> None:
    """A reader and a writer that know nothing of it have nothing to explore."""
    promise = ExplorationTarget(rate=0.05, gain_ms={"fra": 4.2})
    explore = ExplorationTargets(
        share=0.03,
        prefixes={"10.1.2.0/24": promise, "2001:db8::/48": promise},
        places={location_key(50.1109, -8.6821): promise},
    )
    latency = Latency(number=1, lineage="store", created_at=NOW, explore=explore)
    assert unseal(seal(latency, KEY), KEY.public_key()) == latency
    assert [*explore.places] == ["50.1109,-8.6821"]
    old = latency.model_dump(exclude={"explore"})
    assert Latency.model_validate(old).explore == ExplorationTargets()


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"share": 0.21}, "less than or equal to 0.2"),
        ({"prefixes": {"10.1.2.0/23": {"rate": 0.1, "gain_ms": {"fra": 1}}}}, "/24"),
        ({"places": {"here": {"rate": 0.3, "gain_ms": {"fra": 1}}}}, "less than or equal to 0.2"),
        ({"places": {"here": {"rate": 0.1, "gain_ms": {}}}}, "at least 1"),
        ({"places": {"here": {"rate": 0.1, "gain_ms": {"fra": 0}}}}, "greater than 0"),
    ],
)
def test_promises_are_bounded(fields: dict[str, Any], rule: str) -> None:
    """Nobody can have edges explore without end."""
    with pytest.raises(ValidationError, match=rule):
        ExplorationTargets.model_validate(fields)
