"""Bodies and queries: what is refused, and that it is said which field and why."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_allocator.errors import MAX_FIELD, Problem, RequestFault, unreadable, wrong
from firsthop_allocator.http.reading import read_body, read_query
from firsthop_allocator.http.schema import AllocationBody, RegionsQuery


def problem(raw: bytes) -> Problem:
    with pytest.raises(Problem) as caught:
        read_body(raw, AllocationBody)
    return caught.value


@pytest.mark.parametrize("raw", [b"", b"{}", b" {} ", b'{"service":null,"exclude_relays":null}'])
def test_every_field_may_be_left_out(raw: bytes) -> None:
    """curl without a body is a request, too."""
    body = read_body(raw, AllocationBody)
    assert body.client_ip is None
    assert body.ttl in (3600, None)


def test_a_full_body_is_read() -> None:
    """All fields at once."""
    body = read_body(
        b'{"service":"relay.edge.example.","client_ip":"::ffff:192.0.2.1","ttl":60,'
        b'"transceiver_region":"eu","exclude_relays":["a","b-1"]}',
        AllocationBody,
    )
    assert body.client_ip == ip_address("192.0.2.1")
    assert (body.ttl, body.exclude_relays) == (60, ["a", "b-1"])


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"{", "JSON"), (b"[]", "object"), (b"null", "object"), (b'"x"', "object"),
        (b"{} {}", "JSON"), (b"\xff\xfe{\x00}\x00", "UTF-8"), (b"\xef\xbb\xbf{}", "JSON"),
        (b'{"ttl":NaN}', "NaN"), (b'{"ttl":-Infinity}', "Infinity"), (b"\x00", "JSON"),
        (b'{"a":' + b"[" * 8000, "nested"), (b'{"ttl":' + b"9" * 5000 + b"}", "JSON"),
        (b'{"service":"\x00"}', "JSON"), (b"{'ttl':60}", "JSON"), (b'{"ttl":01}', "JSON"),
        (b'{"ttl":0x3c}', "JSON"), (b'{"ttl":60,}', "JSON"),
        (b'{"ttl":60,"ttl":61}', "twice"), (b'{"ttl":60,"\\u0074tl":61}', "twice"),
        (b'{"exclude_relays":[{"a":1,"a":2}]}', "twice"),
    ],
)  # fmt: skip
def test_what_is_not_one_json_object_is_400(raw: bytes, says: str) -> None:
    """Ambiguous JSON is refused as well: another reader on the way may have read it otherwise."""
    found = problem(raw)
    assert found.status == 400
    assert says in found.detail


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("ttl", each) for each in (59, 86401, -1, 0, 60.0, 61.5, 1e400, True, "60", [60], {},
                                     10**400, "٦٠")),
        *(("client_ip", each) for each in (
            "", "1.2.3", "1.2.3.4/24", "1.2.3.4 ", "fe80::1%eth0", "::", "0.0.0.0", "255.0.0.256",
            "224.0.0.1", "ff02::1", 16909060, True, ["1.2.3.4"], {"ip": "1.2.3.4"}, "١.2.3.4",
            "1.2.3.4\x00", "01.2.3.4", "::ffff:1.2.3.4:80", "1" * 5000, "\ud800", "localhost")),
        *(("service", each) for each in ("", "a" * 255, 5, ["relay"], "re lay", "re\x00", "ß")),
        *(("transceiver_region", each) for each in ("", "EU", "a_b", "../x", 7, "eu\n", "e" * 64)),
        *(("exclude_relays", each) for each in ("fra-1", [1], [None], [["fra-1"]], {"a": 1},
                                                [f"r{n}" for n in range(65)], ["UPPER"], [""])),
    ],
)  # fmt: skip
def test_a_value_out_of_its_rule_is_422_and_named(field: str, value: Any) -> None:
    """No coercion: a bool is no number, a float no integer, a digit of another script no digit."""
    found = problem(json.dumps({field: value}).replace("Infinity", "1e400").encode())
    assert found.status == 422
    assert {fault.field.split("/")[0] for fault in found.faults} == {field}
    assert all(fault.rule for fault in found.faults)


def test_an_unknown_field_is_named_but_not_at_length() -> None:
    """The name is the caller's text: cut, and JSON whatever is in it."""
    found = problem(json.dumps({"x" * 5000: 1}).encode())
    assert found.status == 422
    document = found.to_json("id")
    assert len(json.dumps(document)) < 1000
    assert document["errors"] == [
        {"field": "x" * MAX_FIELD, "rule": "extra inputs are not permitted"}
    ]
    odd = problem(b'{"\\ud800":1}')
    json.dumps(odd.to_json("id")).encode()


def test_many_faults_are_told_but_not_all() -> None:
    """An answer stays small however many there are."""
    found = problem(json.dumps({f"k{n}": n for n in range(1000)}).encode())
    assert len(found.faults) == 10


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(list(AllocationBody.model_fields)) | st.text(max_size=5)


@pytest.mark.fuzz
@given(st.dictionaries(FIELDS, JSON, max_size=5).map(lambda each: json.dumps(each).encode()))
def test_any_json_is_read_or_refused(raw: bytes) -> None:
    """Nothing but Problem comes out, and it can be written down."""
    try:
        read_body(raw, AllocationBody)
    except Problem as found:
        assert found.status in (400, 422)
        json.dumps(found.to_json("id")).encode()


@pytest.mark.fuzz
@given(st.binary(max_size=200))
def test_any_octets_are_read_or_refused(raw: bytes) -> None:
    """The same for what is no JSON."""
    try:
        read_body(raw, AllocationBody)
    except Problem as found:
        assert found.status in (400, 422)


def test_queries_are_as_strict() -> None:
    """Twice the same name, an unknown one, an address with a scope."""
    read = read_query([("service", "relay"), ("client_ip", "2001:db8::1")], RegionsQuery)
    assert str(read.client_ip) == "2001:db8::1"
    for pairs, status in (
        ([("service", "a"), ("service", "b")], 400),
        ([("other", "a")], 422),
        ([("client_ip", "fe80::1%lo")], 422),
        ([("service", "")], 422),
    ):
        with pytest.raises(Problem) as caught:
            read_query(pairs, RegionsQuery)
        assert caught.value.status == status


@pytest.mark.parametrize(
    ("found", "title", "kind"),
    [
        (unreadable("no JSON"), "Bad Request", "malformed"),
        (Problem(413, "too long"), "Content Too Large", "request-entity-too-large"),
        (wrong(422, RequestFault("ttl", "is negative")), "Unprocessable Content", "invalid"),
        (Problem(422, "no offer"), "Unprocessable Content", "unprocessable-entity"),
        (Problem(503, "soon", kind="not-ready"), "Service Unavailable", "not-ready"),
    ],
)
def test_titles_are_standard_and_types_stay(found: Problem, title: str, kind: str) -> None:
    """The title is the phrase of RFC 9110; the type is what callers have always had."""
    document = found.to_json("id")
    assert (document["title"], document["type"]) == (title, f"urn:firsthop:problem:{kind}")
