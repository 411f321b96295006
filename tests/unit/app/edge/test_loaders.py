"""No content that operators or a control plane give to an edge's loaders ends the edge."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from firsthop.edge.following import file_source, geo_source, snapshot_store
from firsthop.edge.following.file_source import FileSource, load_plan
from firsthop.edge.following.geo_source import GeoTableSource
from firsthop.edge.following.refusals import fault_text
from firsthop.edge.following.snapshot_store import FeedGapError, OldFeedError, SnapshotStore
from firsthop_steering.feed.snapshot import payload_of, seal
from firsthop_steering.plan.document import DocumentError, load_yaml
from firsthop_steering.plan.yaml_text import read_yaml
from firsthop_zones import zonefile
from firsthop_zones.zonefile import read_zone
from support.edges import EXAMPLE
from support.worlds import plan_of, status_of

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ZONE = "@ 60 IN SOA ns h 1 1 1 1 1\n@ 60 NS ns\nns 60 A 192.0.2.1\nt 60 TXT a\n"
ODD = """
2026-11-31T00:00:00Z 2026-11-30T25:00:00Z 0000-01-01T00:00:00Z 9999-12-31T23:59:60Z 2026-02-30 1e999
.inf .nan 0x10 030 190:20:30 yes NO ~ -0 ::ffff:1.2.3.4 fe80::1%eth0 1.2.3.4/33 * & ! % @ a..b é
$INCLUDE \\# \\300 \u202e \U0001f600
"""
ODD_WORDS = ODD.split()
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(int("9" * 400)),
    st.floats(),
    st.sampled_from(ODD_WORDS),
    st.text(max_size=20),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=3,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples of a test."""
    return tmp_path_factory.mktemp("loaders")


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values inside `value`."""
    found = [path] if path else []
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            found += places(inner, (*path, key))
    return found


def with_value(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy of `value` that has `new` at `path`."""
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = with_value(value[path[0]], path[1:], new)
    return copy


DOCUMENT: dict[str, Any] = read_yaml(EXAMPLE.read_text()).value()
DOCUMENT_PLACES = places(DOCUMENT)


@settings(max_examples=80)
@given(path=st.sampled_from(DOCUMENT_PLACES), new=VALUES)
@example(path=("zones",), new=5)
@example(path=("zones",), new=True)
@example(path=("zones", 0), new={"file": "x", "apex": 5})
def test_any_value_at_any_place_of_a_document(path: tuple[Any, ...], new: Any) -> None:
    """It is a document, or refused with its faults."""
    try:
        load_yaml(json.dumps(with_value(DOCUMENT, path, new)), lambda _: ZONE)
    except DocumentError as error:
        assert error.problems


@settings(max_examples=80)
@given(
    at=st.integers(0, len(EXAMPLE.read_bytes())), lost=st.integers(0, 9), put=st.binary(max_size=9)
)
def test_any_octets_in_a_document(folder: Path, at: int, lost: int, put: bytes) -> None:
    """Damaged anywhere, a file is a plan or refused."""
    whole, path = EXAMPLE.read_bytes(), folder / "damaged.yaml"
    path.write_bytes(whole[:at] + put + whole[at + lost :])
    try:
        load_plan(path)
    except DocumentError as error:
        assert error.problems


@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        (
            "regions: [fra]",
            "expires_at: 2026-11-31T00:00:00Z\n    regions: [fra]",
            "overrides/0/expires_at: day is out of range",
        ),
        (
            "regions: [fra]",
            "expires_at: 2026-11-30T25:00:00Z\n    regions: [fra]",
            "overrides/0/expires_at: hour must be in 0..23",
        ),
        (
            "regions: [fra]",
            "expires_at: 0000-11-30T00:00:00Z\n    regions: [fra]",
            "overrides/0/expires_at: year 0 is out of range",
        ),
        ("ttl: 30", "ttl: " + "9" * 5000, "services/0/ttl: Input should be a valid integer"),
        ("ttl: 30", "ttl: !!int abc", "document: tags"),
        ("ttl: 30", "ttl: &a [*a]", "document: aliases"),
        ("ipv4: 192.0.2.10", "ipv4: 0.0.0.0", "relays/fra-1/ipv4: no client could use 0.0.0.0"),
        ("services:", "services: 5\nother:", "services: "),
    ],
)
def test_impossible_values_are_refused_at_their_line(
    folder: Path, before: str, after: str, rule: str
) -> None:
    """Each has ended an edge, or another server, once."""
    text = EXAMPLE.read_text()
    line = text[: text.index(before)].count("\n") + 1
    path = folder / "impossible.yaml"
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(DocumentError, match=f"line {line}: {rule}"):
        load_plan(path)


@pytest.mark.parametrize("seconds", [-(10**10), -5, 0, 1, 2**31, 2**33])
def test_a_document_of_any_time(folder: Path, seconds: int) -> None:
    """Files from before 1970, and of the far future, are files like others."""
    path = folder / "old.yaml"
    path.write_text(EXAMPLE.read_text())
    os.utime(path, (seconds, seconds))
    assert load_plan(path).number >= 0


def test_a_zone_file_that_links_to_itself(folder: Path) -> None:
    """It is refused at its field, like every file that cannot be read."""
    link, path = folder / "loop.zone", folder / "linked.yaml"
    link.symlink_to(link)
    path.write_text("zones: [{file: loop.zone}]")
    with pytest.raises(DocumentError, match="line 1: zones/0/file: is a link"):
        load_plan(path)


@settings(max_examples=80)
@given(
    at=st.integers(0, len(ZONE)),
    put=st.sampled_from(ODD_WORDS) | st.text(alphabet='"();\\$@.*\n\t aIN0', max_size=12),
)
def test_any_text_in_a_zone_file(at: int, put: str) -> None:
    """It is a zone, or refused with its faults."""
    try:
        read_zone(ZONE[:at] + put + ZONE[at:], source="z", apex="z.test.")
    except DocumentError as error:
        assert error.problems


SNAPSHOTS = [
    json.loads(payload_of(each))
    for each in (plan_of({"regions": [{"id": "a", "latitude": 1, "longitude": 1}]}), status_of(2))
]
PAYLOADS = [(payload, path) for payload in SNAPSHOTS for path in places(payload)]


def signed(payload: str, kind: str) -> bytes:
    """An envelope of any payload whose signature is valid."""
    envelope = json.loads(seal(status_of(1), KEY))
    message = b"firsthop snapshot v1\0" + kind.encode() + b"\0" + payload.encode()
    signature = base64.b64encode(KEY.sign(message)).decode()
    return json.dumps(
        {**envelope, "kind": kind, "payload": payload, "signature": signature}
    ).encode()


@settings(max_examples=80)
@given(
    case=st.sampled_from(PAYLOADS),
    new=VALUES,
    kind=st.sampled_from(("plan", "status", "keys", "delta", "prices", "latency", "x")),
)
def test_any_value_in_a_signed_snapshot(folder: Path, case: Any, new: Any, kind: str) -> None:
    """It is taken, or refused with a reason; the former one stays."""
    store = SnapshotStore(folder / "snapshots", KEY.public_key(), any_age=True)
    payload = json.dumps(with_value(*case, new))
    try:
        taken = store.accept(signed(payload, kind))
    except (FeedGapError, OldFeedError):
        taken = None
    assert taken is not None or store.last_rejection or store.gaps
    assert not store.refusals.faults


async def test_a_fault_of_a_loader_is_a_refusal(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception that nobody expected keeps the old in use, is counted, and has its traceback."""
    path = folder / "edge.yaml"
    path.write_text(EXAMPLE.read_text())
    source, geo = FileSource(path, folder), GeoTableSource(None, None, cache=folder / "geodata")
    source.load()
    plan = source.plan
    store = SnapshotStore(folder / "faults", KEY.public_key(), any_age=True)
    assert store.accept(seal(status_of(1), KEY))

    def broken(*_: object, **__: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(file_source, "admission_problems", broken)
    monkeypatch.setattr(geo_source, "open_geodata", broken)
    monkeypatch.setattr(snapshot_store, "unseal", broken)
    with capture_logs() as logged:
        await source.reload()
        await geo.reload()
        assert store.accept(seal(status_of(2), KEY)) is None
        store.load()
    assert (source.plan, store.status) == (plan, status_of(1))
    for refusals in (source.refusals, geo.refusals, store.refusals):
        assert "fault of this program" in refusals.reason
        assert "RecursionError: too deep" in refusals.reason
        assert (refusals.content, refusals.faults > 0) == (0, True)
    assert {each["event"] for each in logged} == {
        "document.failed",
        "geodata.failed",
        "snapshot.failed",
    }
    assert all(each["exc_info"] for each in logged)


def test_a_fault_at_a_line_of_a_zone_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal says file and line, though the exception does not."""

    def broken(_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(zonefile, "seconds", broken)
    with pytest.raises(RecursionError) as caught:
        read_zone(ZONE, source="files.zone", apex="z.test.")
    assert "files.zone, line 1" in fault_text(caught.value)
