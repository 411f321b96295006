"""What is encoded when a table is compiled, and read back from its section."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import dns.message
import dns.rrset
import pytest

from firsthop_dns.compile.zone import ZoneError, encode_zones, static_zones
from firsthop_dns.table.layout import LONGEST_CHAIN, SECTION
from firsthop_dns.table.mapped import MappedName, Zones
from firsthop_steering.compile.sections import SectionError
from firsthop_steering.compile.table import AnswerTable
from firsthop_steering.plan.document import Document
from firsthop_steering.plan.model import Service
from firsthop_zones.model import Record, Zone
from firsthop_zones.names import to_wire


def zone(apex: str = "a.test.", *records: tuple[str, str, str], **more: Any) -> Zone:
    """A zone with records (owner, type, rdata)."""
    return Zone(
        apex=apex,
        primary="ns.a.test.",
        contact="host.other.test.",
        name_servers=more.pop("name_servers", ("ns.a.test.",)),
        records=tuple(Record(owner=o, type=t, rdata=r) for o, t, r in records),
        **more,
    )


def zones(*each: Zone) -> Zones:
    """Encoded and read back."""
    return Zones(memoryview(encode_zones(Document(zones=each), 1, [])))


def node_of(found: Zones, name: str) -> MappedName:
    """The node of a name or of its closest encloser."""
    node = found.find(to_wire(name))
    assert node is not None
    return node


def exact(found: Zones, name: str) -> bool:
    """Whether a name exists."""
    return node_of(found, name).name == to_wire(name)


def types(found: Zones, name: str) -> set[int]:
    """The types listed at a name that exists."""
    assert exact(found, name)
    return set(node_of(found, name).types)


def message(found: Zones, place: int, name: str, base: bytes) -> dns.message.Message:
    """A body as the answer to a question for `name`, whose end is `base`."""
    body, question = found.body(place), to_wire(name)
    answers, authorities, additionals, spare = body.counts
    counts = (1, answers, authorities, additionals + spare)
    head = b"\0\0\x84\0" + b"".join(each.to_bytes(2, "big") for each in counts)
    octets = body.behind(base, len(question))
    return dns.message.from_wire(head + question + b"\0\1\0\1" + octets)


def read(found: Zones, name: str, kind: int) -> dns.message.Message:
    """The body of a name and type as a message."""
    node = node_of(found, name)
    return message(found, node.types[kind], name, node.name)


def test_names_above_records_exist_and_others_do_not() -> None:
    """RFC 4592 §2.2.2."""
    found = zones(zone("a.test.", ("x.y.z.a.test.", "A", "192.0.2.1")))
    assert types(found, "y.z.a.test.") == set()
    assert types(found, "x.y.z.a.test.") == {1}
    assert not exact(found, "q.y.z.a.test.")
    assert node_of(found, "q.y.z.a.test.").zone.label == "a.test."
    assert found.find(to_wire("test.")) is None
    assert found.find(to_wire(".")) is None


def test_the_most_specific_zone_has_a_name() -> None:
    """And a zone within a zone makes the names between them, in the outer one."""
    found = zones(
        zone("test.", ("a.test.", "A", "192.0.2.1")), zone("d.c.b.a.test."), zone("other.")
    )
    for name, apex in [
        ("x.d.c.b.a.test.", "d.c.b.a.test."),
        ("d.c.b.a.test.", "d.c.b.a.test."),
        ("c.b.a.test.", "test."),
        ("b.a.test.", "test."),
        ("x.b.a.test.", "test."),
        ("other.", "other."),
    ]:
        assert node_of(found, name).zone.label == apex
        assert exact(found, name) == (not name.startswith("x."))


def test_a_zone_at_the_root() -> None:
    """Its apex has no labels, and a whoami all the same."""
    found = zones(zone("."))
    assert types(found, ".") == {2, 6}
    node = node_of(found, "whoami.")
    assert node.whoami
    denial = message(found, node.zone.denial, "nope.", b"\0")
    assert denial.authority[0].name == dns.name.root


@pytest.mark.parametrize(("primary", "contact"), [("ns.a.test.", "h.a.test."), ("ns.b.", "h.b.")])
def test_the_negative_soa_fits_any_question(primary: str, contact: str) -> None:
    """Its names point into the question, wherever the apex is in it."""
    made = zone("a.test.", minimum=9, ttl=100).model_copy(
        update={"primary": primary, "contact": contact}
    )
    found = zones(made)
    (view,) = found.zones
    for label in ("x", "x" * 63, "x.y", ""):
        name = f"{label}.a.test." if label else "a.test."
        (rrset,) = message(found, view.denial, name, view.apex).authority
        assert rrset.to_text() == f"a.test. 9 IN SOA {primary} {contact} 1 7200 900 1209600 9"


def test_long_chains_end() -> None:
    """A resolver asks on from the last target."""
    links = [(f"n{i}.a.test.", "CNAME", f"n{i + 1}.a.test.") for i in range(20)]
    found = zones(zone("a.test.", *links, ("n20.a.test.", "A", "192.0.2.1")))
    answer = read(found, "n0.a.test.", 0)
    assert len(answer.answer) == LONGEST_CHAIN
    assert answer.authority == []
    answer = read(found, f"n{20 - LONGEST_CHAIN}.a.test.", 1)
    assert len(answer.answer) == LONGEST_CHAIN + 1


def test_bodies_beyond_16_kib_stay_readable() -> None:
    """No pointer reaches past offset 16,383 (RFC 1035 §4.1.4), wherever the body is moved."""
    hosts = [f"host-{number:04}.somewhere-{number // 9}.test." for number in range(900)]
    records = [("big.a.test.", "MX", f"{i} {host}") for i, host in enumerate(hosts)]
    found = zones(zone("a.test.", *records))
    body = found.body(node_of(found, "big.a.test.").types[15])
    name = to_wire("big.a.test.")
    moved = body.moved(name, 5000, len(name), 5000 + len(name))
    assert all(int.from_bytes(moved[at : at + 2], "big") >= 0xC000 + 12 for at in body.pointers)
    shift = 5000 + len(name) - (12 + len(name) + 4)
    for at in body.pointers:
        before, after = (int.from_bytes(each[at : at + 2], "big") for each in (body.octets, moved))
        assert after - before in (shift, 5000 - 12)
    answer = read(found, "big.a.test.", 15)
    assert sorted(str(each.exchange) for each in answer.answer[0]) == sorted(hosts)


def test_what_fits_no_message_is_refused() -> None:
    """With the owner's name."""
    text = '"' + "x" * 250 + '"'
    records = [("big.a.test.", "TXT", f'"{number}" {text}') for number in range(260)]
    with pytest.raises(ZoneError, match=r"big\.a\.test\."):
        zones(zone("a.test.", *records))


def test_whoami_makes_room() -> None:
    """For records, zones and services of that name; a name above others is free to take."""
    records = [("whoami.a.test.", "A", "192.0.2.1"), ("x.whoami.b.test.", "A", "192.0.2.1")]
    found = zones(
        zone("a.test.", records[0]), zone("b.test.", records[1]), zone("whoami.b.test.x.")
    )
    for name, told in [
        ("whoami.a.test.", False),
        ("whoami.b.test.", True),
        ("whoami.b.test.x.", False),
        ("whoami.whoami.b.test.x.", True),
    ]:
        assert (node_of(found, name).whoami, exact(found, name)) == (told, True)


def test_names_of_one_hash_are_told_apart() -> None:
    """CRC-32 collides within some 100,000 names; the name itself decides."""
    seen: dict[int, str] = {}
    draw = random.Random(3)
    while True:
        name = f"{draw.getrandbits(40):x}.a.test."
        other = seen.setdefault(crc32(to_wire(name)), name)
        if other != name:
            break
    found = zones(zone("a.test.", (name, "A", "192.0.2.1"), (other, "TXT", "x")))
    assert (types(found, name), types(found, other)) == ({1}, {16})


def test_deep_questions_cost_no_more_than_deep_zones(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of 127 labels is looked up as often as the deepest name has labels."""
    found = zones(zone("a.test.", ("x.y.a.test.", "A", "192.0.2.1")))
    asked: list[bytes] = []
    real = Zones._node
    monkeypatch.setattr(Zones, "_node", lambda s, name: asked.append(name) or real(s, name))
    assert found.find(b"\1q" * 127 + b"\0") is None
    assert len(asked) <= 5


def test_a_foreign_section_is_refused(sample: tuple[AnswerTable, object]) -> None:
    """Of another format, cut, or of a table without zones."""
    octets = bytes(sample[0].sections.bytes(SECTION))
    for bad in (b"", octets[:10], b"X" + octets[1:], octets[:7] + b"\x63" + octets[8:]):
        with pytest.raises(SectionError):
            Zones(memoryview(bad))
    bare = SimpleNamespace(sections=type("Empty", (dict,), {"path": "x"})())
    with pytest.raises(SectionError, match="no section"):
        Zones.of(bare)  # type: ignore[arg-type]


def test_the_static_part_may_be_kept() -> None:
    """The same octets for the same plan; only services are encoded for a new status."""
    document = Document(zones=(zone("a.test."),), services=(Service(id="s", name="s.a.test."),))
    service = SimpleNamespace(name="s.a.test.", ttl=30, answers=())
    static = static_zones(document, 5)
    assert encode_zones(document, 5, [service], static=static) == encode_zones(
        document, 5, [service]
    )
    with pytest.raises(ValueError, match="order"):
        encode_zones(document, 5, [])


def test_services_outside_every_zone_are_refused() -> None:
    """The document's own check says so first; this one keeps a table from lacking a name."""
    document = Document(services=(Service(id="s", name="s.a.test."),))
    with pytest.raises(ZoneError, match="outside"):
        static_zones(document, 1)


def test_serials_wrap() -> None:
    """RFC 1982 §3: the next after the largest is the smallest."""
    found = Zones(memoryview(encode_zones(Document(zones=(zone(),)), 2**32 + 5, [])))
    assert " 5 7200 " in read(found, "a.test.", 6).answer[0].to_text()


def test_a_wildcard_s_body_fits_any_question_below() -> None:
    """Pointers to what comes after the question move; `*` in data stays what it is."""
    found = zones(
        zone(
            "a.test.",
            ("*.w.a.test.", "MX", "5 *.w.a.test."),
            ("*.w.a.test.", "MX", "7 host.w.a.test."),
            ("*.w.a.test.", "MX", "9 host.w.a.test."),
        )
    )
    source = found.wildcard(node_of(found, "w.a.test."))
    assert source is not None
    for label in ("x", "x" * 63, "x.y.z", "*"):
        name = f"{label}.w.a.test."
        (rrset,) = message(found, source.types[15], name, source.name).answer
        assert rrset.name.to_text() == name
        said = sorted((each.preference, str(each.exchange)) for each in rrset)
        assert said == [(5, "*.w.a.test."), (7, "host.w.a.test."), (9, "host.w.a.test.")]


def test_random_zones_read_back_as_dnspython_has_them() -> None:
    """Every record, owner and target, through compression at any depth."""
    draw = random.Random(11)
    names = [
        ".".join(draw.choice(["a", "b", "ns", "x" * 30]) for _ in range(draw.randrange(1, 5)))
        for _ in range(60)
    ]
    records = {
        (f"{draw.choice(names)}.o{i}.a.test.", "MX", f"{i} {draw.choice(names)}.a.test.")
        for i in range(300)
    }
    found = zones(zone("a.test.", *sorted(records)))
    for owner in sorted({owner for owner, _, _ in records}):
        (rrset,) = read(found, owner, 15).answer
        said = {(owner, "MX", f"{each.preference} {each.exchange}") for each in rrset}
        assert said == {each for each in records if each[0] == owner}


def test_the_parent_s_ds_of_a_zone_that_is_ours_too() -> None:
    """RFC 4035 §3.1.4.1: DS at the apex comes from above, or its absence does."""
    ds = "12345 13 2 " + "ab" * 32
    found = zones(
        zone("test.", ("a.test.", "NS", "ns.a.test."), ("a.test.", "DS", ds)),
        zone("a.test."),
        zone("b.test."),
    )
    (rrset,) = read(found, "a.test.", 43).answer
    assert rrset[0].key_tag == 12345
    assert read(found, "a.test.", 2).answer[0].ttl == 3600
    denied = read(found, "b.test.", 43)
    assert (denied.answer, denied.authority[0].name.to_text()) == ([], "test.")
