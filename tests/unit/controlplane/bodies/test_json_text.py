"""JSON is parsed strictly."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_controlplane.bodies.json_text import EXACT_INTEGER, parse, parse_object
from firsthop_controlplane.bodies.validation import validated
from firsthop_controlplane.errors import Refused
from firsthop_steering.plan.model import Override, Region, TransceiverRegion

_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-EXACT_INTEGER, EXACT_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(_TEXT, inner),
    max_leaves=20,
)


@given(_JSON)
def test_what_json_says_is_what_is_read(value: object) -> None:
    """Every value that JSON holds exactly comes through; −0.0 is 0.0."""
    assert parse(json.dumps(value).encode()) == value
    assert "-0.0" not in repr(parse(json.dumps([-0.0]).encode()))


@pytest.mark.fuzz
@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_a_refusal(raw: bytes) -> None:
    """Nothing else is ever raised."""
    try:
        parse_object(raw)
    except Refused as refused:
        assert refused.status == 400


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"a": 1, "a": 1}', "twice"),
        (b'{"a": {"b": 1, "b": 2}}', "twice"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b'{"a": ["\\ud800"]}', "surrogate"),
        (b'{"a\\u0000": 1}', "NUL"),
        (b'{"a": [[["\\u0000"]]]}', "NUL"),
        (b'{"a": [{"b": "\\u0000"}]}', "NUL"),
        (b'{"a": 9007199254740992}', "2^53"),
        (b'{"a": -9007199254740992}', "2^53"),
        (b'{"a": 1e400}', "double"),
        (b'{"a": NaN}', "NaN"),
        (b"[" * 100_000, "nested"),
        (b"\xff", "UTF-8"),
        (b"[1]", "object"),
        (b'{"a": 1} x', "line 1, column 10"),
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(raw: bytes, words: str) -> None:
    """The detail says which rule."""
    with pytest.raises(Refused) as caught:
        parse_object(raw)
    assert words in caught.value.detail


def test_types_are_not_guessed_at() -> None:
    """No text for a number, no truth for a number; a network is read by its own validator."""
    for value in ({"weight": "5"}, {"weight": True}, {"latitude": "50"}, {"name": 1}):
        with pytest.raises(Refused) as caught:
            validated(Region, {"id": "fra", "latitude": 1, "longitude": 2} | value)
        assert [fault.field for fault in caught.value.errors] == list(value)
    override = {"id": "o", "cidr": "10.0.0.0/8", "regions": ["fra"], "mode": "only"}
    assert str(validated(Override, override).cidr) == "10.0.0.0/8"
    with pytest.raises(Refused) as caught:
        validated(Override, override | {"cidr": "10.0.0.1/8", "asn": "1"})
    assert {fault.field for fault in caught.value.errors} == {"cidr", "asn"}


@pytest.mark.parametrize("value", [False, True, 0, 167772160, 1.5, ["10.0.0.0/8"], {}, ""])
def test_only_text_is_a_network(value: object) -> None:
    """`false` was 0.0.0.0/32, an override for nobody; other types were other networks."""
    override = {"id": "o", "cidr": value, "regions": ["fra"], "mode": "only"}
    region = {"id": "eu", "latitude": 1, "longitude": 1, "networks": [value]}
    for model, body in ((Override, override), (TransceiverRegion, region)):
        with pytest.raises(Refused) as caught:
            validated(model, body)
        assert {each.field.split("/")[0] for each in caught.value.errors} <= {"cidr", "networks"}


@pytest.mark.parametrize("value", [0, False, "1767225600", "2026-12-31", "2026-12-31T18:00:00"])
def test_only_a_time_with_its_offset_is_a_time(value: object) -> None:
    """Neither seconds since 1970, as a number or text, nor a local time."""
    override = {"id": "o", "asn": 1, "regions": ["fra"], "mode": "only", "expires_at": value}
    with pytest.raises(Refused):
        validated(Override, override)
