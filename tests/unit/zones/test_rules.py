"""What may stand beside, below and above what, in a document's zones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_steering.plan.document import Document, problems_in, warnings_in, zone_of
from support.worlds import ZONE

A = ("A", "192.0.2.1")
TXT = ("TXT", "x")
DS = ("DS", "1 13 2 " + "ab" * 32)
NS_OUT = ("NS", "ns.other.")

Records = list[tuple[str, str, str]]


def document(*zones: tuple[str, Records], services: dict[str, str] | None = None) -> Document:
    """Zones by apex and their records, owners relative to it; services by id and full name."""
    return Document.model_validate(
        {
            "zones": [
                ZONE
                | {
                    "apex": apex,
                    "name_servers": ["ns.elsewhere."],
                    "records": [
                        {"owner": f"{owner}.{apex}" if owner else apex, "type": t, "rdata": r}
                        for owner, t, r in records
                    ],
                }
                for apex, records in zones
            ],
            "services": [{"id": i, "name": name} for i, name in (services or {}).items()],
        }
    )


def told(*records: tuple[str, str, str], **services: str) -> dict[str, str]:
    """What is wrong with these records of a.test. and services in it: place → rule."""
    found = problems_in(document(("a.test.", list(records)), services=services))
    return {each.field.removeprefix("zones/a.test./records/"): each.rule for each in found}


GOOD: dict[str, Records] = {
    "a delegation with glue of its own": [
        ("sub", "NS", "ns.sub.a.test."),
        ("sub", "NS", "ns.other."),
        ("sub", *DS),
        ("ns.sub", *A),
        ("ns.sub", "AAAA", "2001:db8::1"),
    ],
    "a server at the cut itself": [("sub", "NS", "sub.a.test."), ("sub", *A)],
    "glue of a sibling": [
        ("one", "NS", "ns.two.a.test."),
        ("two", "NS", "ns.other."),
        ("ns.two", *A),
    ],
    "a DNAME beside what is no alias": [("d", "DNAME", "x."), ("d", *A), ("d", *TXT)],
    "a DNAME at the apex": [("", "DNAME", "x."), ("", *TXT)],
    "one CNAME written twice": [("c", "CNAME", "X.other."), ("c", "CNAME", "x.other")],
    "a wildcard": [("*", *A), ("*", *TXT), ("x.*", *A), ("*.sub", "CNAME", "x.")],
    "a name that only looks like one below": [("sub", *NS_OUT), (r"x\.sub", *A), ("xsub", *A)],
    "unknown types": [("u", "TYPE65280", r"\# 1 00"), ("u", *A)],
}


@pytest.mark.parametrize("records", GOOD.values(), ids=GOOD)
def test_what_may_stand(records: Records) -> None:
    """No problem is found."""
    assert told(*records) == {}


BAD: list[tuple[Records, str, str]] = [
    ([("", "NS", "ns.other.")], "a.test./NS", "name_servers"),
    ([("", *DS)], "a.test./DS", "RFC 4035 §2.4"),
    ([("", "CNAME", "x.")], "a.test./CNAME", "alone"),
    ([("c", "CNAME", "x."), ("c", *TXT)], "c.a.test./CNAME", "alone"),
    ([("c", "CNAME", "x."), ("c", "CNAME", "y.")], "c.a.test./CNAME", "only one CNAME"),
    ([("d", "DNAME", "x."), ("d", "CNAME", "x.")], "d.a.test./CNAME", "alone"),
    ([("d", "DNAME", "x."), ("d", "DNAME", "y.")], "d.a.test./DNAME", "only one DNAME"),
    ([("d", "DNAME", "x."), ("b.d", *A)], "b.d.a.test./A", "below the DNAME of d.a.test."),
    ([("", "DNAME", "x."), ("c.b", *TXT)], "c.b.a.test./TXT", "below the DNAME of a.test."),
]


@pytest.mark.parametrize(("records", "place", "rule"), BAD, ids=[each[1] for each in BAD])
def test_what_may_not_stand(records: Records, place: str, rule: str) -> None:
    """It is told at the record that is one too many, and at no other."""
    found = told(*records)
    assert found.keys() == {place}
    assert rule in found[place]


HIDDEN: dict[str, Records] = {
    "sub.a.test./TXT": [("sub", *NS_OUT), ("sub", *TXT)],
    "sub.a.test./A": [("sub", *NS_OUT), ("sub", *A)],
    "sub.a.test./DNAME": [("sub", *NS_OUT), ("sub", "DNAME", "x.")],
    "x.y.sub.a.test./A": [("sub", *NS_OUT), ("x.y.sub", *A)],
    "b.sub.a.test./NS": [("sub", *NS_OUT), ("b.sub", *NS_OUT)],
    "ns.sub.a.test./TXT": [("sub", "NS", "ns.sub.a.test."), ("ns.sub", *A), ("ns.sub", *TXT)],
    "ns.b.sub.a.test./A": [
        ("sub", *NS_OUT),
        ("ns.b.sub", *A),
        ("b.sub", "NS", "ns.b.sub.a.test."),
    ],
    "d.sub.a.test./DNAME": [("sub", *NS_OUT), ("d.sub", "DNAME", "x."), ("x.d.sub", *A)],
    "c.sub.a.test./CNAME": [("sub", *NS_OUT), ("c.sub", "CNAME", "x."), ("c.sub", *A)],
}


@pytest.mark.parametrize(("place", "records"), HIDDEN.items(), ids=HIDDEN)
def test_what_a_delegation_hides_is_warned_of(place: str, records: Records) -> None:
    """As other name servers do, which load such zones: they are transferred to them every day."""
    assert told(*records) == {}
    found = warned(["ns.other."], *records)
    rule = "is left out of answers: sub.a.test. is delegated (RFC 1034 §4.2.1)"
    assert f"zones/a.test./records/{place}: {rule}" in found


def test_warnings_have_a_bound() -> None:
    """A delegation may hide a hundred thousand records."""
    records: Records = [("sub", *NS_OUT), *((f"x{n}.sub", *A) for n in range(1000))]
    assert len(warned(["ns.other."], *records)) == 100


def test_an_rrset_has_one_ttl() -> None:
    """The lowest that its records have; that others are not in use is warned of."""
    made = document(("a.test.", [("x", *A), ("x", "A", "192.0.2.2"), ("y", *A)])).model_dump()
    made["zones"][0]["records"][0]["ttl"] = 60
    found = [str(each) for each in warnings_in(Document.model_validate(made))]
    rule = "its records have several TTLs: all are served with 60 (RFC 2181 §5.2)"
    assert found == [f"zones/a.test./records/x.a.test./A: {rule}"]


@pytest.mark.parametrize("name", ["", "relay"])
def test_a_service_shares_its_name_with_other_types(name: str) -> None:
    """Only addresses, aliases and service bindings are the service's own, at an apex too."""
    at = f"{name}.a.test.".lstrip(".")
    mail: Records = [
        (name, "MX", "10 mail.other."),
        (name, *TXT),
        (name, "CAA", '0 issue "ca.example"'),
        (f"_25._tcp.{name}".rstrip("."), "TLSA", "3 1 1 " + "cd" * 32),
    ]
    assert told(*mail, s=at) == {}
    for own in (A, ("AAAA", "2001:db8::1"), ("HTTPS", "1 ."), ("SVCB", "1 .")):
        (rule,) = told(*mail, (name, *own), s=at).values()
        assert "answers this type itself" in rule


@pytest.mark.parametrize(
    ("place", "rule", "record"),
    [
        ("*.x.a.test./NS", "no effect on the names that the wildcard covers", ("*.x", *NS_OUT)),
        ("*.a.test./DNAME", "no effect on the names that", ("*", "DNAME", "x.")),
        ("x.a.test./DS", "has no delegation beside it", ("x", *DS)),
    ],
)
def test_what_is_odd_is_warned_of(place: str, rule: str, record: tuple[str, str, str]) -> None:
    """Other name servers load it, and answer with it at its own name."""
    assert told(record) == {}
    (warning,) = warned(["ns.other."], record)
    assert warning.startswith(f"zones/a.test./records/{place}: ")
    assert rule in warning


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("c.a.test.", "answers this type itself"),
        ("sub.a.test.", "sub.a.test. is delegated"),
        ("x.sub.a.test.", "sub.a.test. is delegated"),
        ("x.d.a.test.", "below the DNAME of d.a.test."),
        ("*.a.test.", "cannot be a wildcard"),
        ("b.test.", "outside every zone"),
    ],
)
def test_services_have_a_name_to_themselves(name: str, rule: str) -> None:
    """Not of another zone, not below an alias, not many names at once."""
    records = [("c", "CNAME", "x."), ("sub", *NS_OUT), ("d", "DNAME", "x.")]
    assert any(rule in each for each in told(*records, s=name).values())


def test_services_stand_between_and_below_other_names() -> None:
    """At the apex, at an empty non-terminal, below a static name or a wildcard's sibling."""
    names = {"p": "a.test.", "q": "b.a.test.", "r": "x.t.a.test.", "u": "y.a.test."}
    assert told(("t", *TXT), ("c.b", *A), ("*", *TXT), **names) == {}


def test_a_name_belongs_to_its_most_specific_zone() -> None:
    """A document's zone below another's delegation is that delegation's business."""
    inner = ("c.b.a.test.", [("x", *A)])
    assert not problems_in(document(("a.test.", [("b", *NS_OUT)]), inner))
    hiding = document(("a.test.", [("x.c.b", *A)]), inner)
    assert not problems_in(hiding)
    (warning,) = warnings_in(hiding)
    assert warning.field == "zones/a.test./records/x.c.b.a.test./A"
    assert "it is in zone c.b.a.test." in warning.rule
    service = document(("a.test.", [("b", *NS_OUT)]), inner, services={"s": "s.c.b.a.test."})
    assert not problems_in(service)


def test_the_zone_of_a_name_goes_by_labels() -> None:
    """An escaped dot parts no labels."""
    apexes = {"example.", "a.example.", "."}
    assert zone_of("x.a.example.", apexes) == "a.example."
    assert zone_of(r"x\.a.example.", apexes) == "example."
    assert zone_of(r"x\.example.", apexes) == "."
    assert zone_of("xa.example.", apexes) == "example."
    assert zone_of("other.", apexes) == "."
    assert zone_of("other.", apexes - {"."}) is None


def warned(name_servers: list[str], *records: tuple[str, str, str], **services: str) -> list[str]:
    made: dict[str, Any] = document(("a.test.", list(records)), services=services).model_dump()
    made["zones"][0]["name_servers"] = name_servers
    checked = Document.model_validate(made)
    assert not problems_in(checked)
    return [f"{each.field}: {each.rule}" for each in warnings_in(checked)]


def test_name_servers_without_an_address_are_warned_of() -> None:
    """Those in a zone here that nothing but this zone could tell the address of."""
    apex = "zones/a.test./name_servers: ns.a.test. has no address in the zone"
    assert warned(["ns.a.test."]) == [apex]
    assert warned(["ns.a.test."], ("ns", *TXT)) == [apex]
    assert warned(["ns.a.test.", "ns.other."], ("ns", "AAAA", "2001:db8::1")) == []
    assert warned(["ns.a.test."], s="ns.a.test.") == []
    lost = "zones/a.test./records/sub.a.test./NS: ns.sub.a.test. has no address in the zone"
    found = warned(["ns.other."], ("sub", "NS", "ns.sub.a.test."), ("sub", *NS_OUT))
    assert found == [f"{lost}: its delegation lacks glue"]
    assert warned(["ns.other."], ("sub", "NS", "ns.sub.a.test."), ("ns.sub", *A)) == []
    assert warned(["ns.other."], ("sub", "NS", "ns.b.a.test."), ("b", *NS_OUT)) == [], "b knows"


LABELS = st.sampled_from(["a", "b", "*", r"x\.y"])
OWNERS = st.lists(LABELS, max_size=4).map(".".join)
VALUES = st.sampled_from([A, TXT, DS, NS_OUT, ("NS", "a.b.a.test."), ("CNAME", "x."),
                          ("DNAME", "y.")])  # fmt: skip


@given(
    st.lists(st.tuples(OWNERS, VALUES), max_size=8),
    st.lists(OWNERS, max_size=2),
    st.booleans(),
)
def test_problems_go_away_with_what_they_name(
    values: list[tuple[str, tuple[str, str]]], services: list[str], inner: bool
) -> None:
    """Any records are taken or told, and without all that is told the rest may stand."""
    records = {(owner, *value): None for owner, value in values}
    steered = {f"s{n}": f"{owner}.a.test.".lstrip(".") for n, owner in enumerate(set(services))}
    zones = [("b.a.test.", [("x", *A)])] if inner else []
    for _ in range(9):
        made = document(("a.test.", list(records)), *zones, services=steered)
        problems = problems_in(made)
        warnings_in(made)
        if not problems:
            return
        for problem in problems:
            kind, _, rest = problem.field.partition("/")
            if kind == "services":
                steered.pop(rest.split("/")[0], None)
                continue
            where = rest.removeprefix("a.test./records/")
            for owner, type_, rdata in list(records):
                if f"{owner}.a.test./{type_}".lstrip(".") == where:
                    records.pop((owner, type_, rdata))
    raise AssertionError(problems)


def test_a_zone_may_delegate_to_one_that_is_served_here_too() -> None:
    """With NS, DS and glue, as its file has them; anything else there is the inner zone's."""
    records: Records = [("sub", "NS", "ns.sub.a.test."), ("sub", *DS), ("ns.sub", *A)]
    inner = ("sub.a.test.", [("ns", *A)])
    assert problems_in(document(("a.test.", records), inner)) == []
    for extra in (("sub", *TXT), ("x.sub", *A), ("ns.sub", *TXT)):
        both = document(("a.test.", [*records, extra]), inner)
        assert problems_in(both) == []
        (warning,) = warnings_in(both)
        assert "it is in zone sub.a.test., which is served here too" in warning.rule
    assert len(warnings_in(document(("a.test.", [("sub", *DS)]), inner))) == 1


def test_what_fits_no_message_is_refused() -> None:
    """Before it is stored: an edge could not put it on the wire (RFC 1035 §4.2.2)."""
    texts: Records = [("big", "TXT", f'"{n} {"x" * 240}"') for n in range(260)]
    assert list(told(*texts)) == ["big.a.test./TXT"]
    assert told(*texts[:200]) == {}
    servers: Records = [("sub", "NS", f"ns{n}.sub.a.test.") for n in range(1200)]
    glue: Records = [(f"ns{n}.sub", "AAAA", f"2001:db8::{n:x}") for n in range(1200)]
    assert list(told(*servers, *glue)) == ["sub.a.test./NS"]
