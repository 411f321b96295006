"""What is encoded when a table is compiled, and read back from its section."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import dns.message
import dns.rrset
import pytest

from firsthop_dns.layout import SECTION
from firsthop_dns.mapped import Zones
from firsthop_dns.names import to_wire
from firsthop_dns.zone import LONGEST_CHAIN, ZoneError, encode_zones, static_zones
from firsthop_steering.document import Document
from firsthop_steering.model import Record, Service, Zone
from firsthop_steering.sections import SectionError
from firsthop_steering.table import AnswerTable


def zone(apex: str = "a.test.", *records: tuple[str, str, str], **more: Any) -> Zone:
    """A zone with records (owner, type, rdata)."""
    return Zone(
        apex=apex,
        primary="ns.a.test.",
        contact="host.other.test.",
        name_servers=more.pop("name_servers", ("ns.a.test.",)),
        records=tuple(Record(owner=o, type=t, rdata=r) for o, t, r in records),  # type: ignore[arg-type]
        **more,
    )


def zones(*each: Zone) -> Zones:
    """Encoded and read back."""
    return Zones(memoryview(encode_zones(Document(zones=each), 1, [])))


def types(found: Zones, name: str) -> set[int]:
    """The types listed at a name that exists."""
    node = found.find(to_wire(name))
    assert node is not None
    assert node[1]
    return set(node[0].types)


def read(found: Zones, name: str, kind: int) -> dns.message.Message:
    """The body of a name and type as a message."""
    node = found.find(to_wire(name))
    assert node is not None
    body = found.body(node[0].types[kind])
    counts = (1, body.answers, body.authorities, 0)
    head = b"\0\0\x84\0" + b"".join(each.to_bytes(2, "big") for each in counts)
    question = to_wire(name) + kind.to_bytes(2, "big") + b"\0\1"
    return dns.message.from_wire(head + question + body.octets)


def test_names_above_records_exist_and_others_do_not() -> None:
    """RFC 4592 §2.2.2."""
    found = zones(zone("a.test.", ("x.y.z.a.test.", "A", "192.0.2.1")))
    assert types(found, "y.z.a.test.") == set()
    assert types(found, "x.y.z.a.test.") == {1}
    node, exact = found.find(to_wire("q.y.z.a.test.")) or (None, True)
    assert not exact
    assert node is not None
    assert node.zone.label == "a.test."
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
        node = found.find(to_wire(name))
        assert node is not None
        assert node[0].zone.label == apex
        assert node[1] == (not name.startswith("x."))


def test_a_zone_at_the_root() -> None:
    """Its apex has no labels, and a whoami all the same."""
    found = zones(zone("."))
    assert types(found, ".") == {2, 6}
    node = found.find(to_wire("whoami."))
    assert node is not None
    assert node[0].whoami
    soa = node[0].zone.negative(len(to_wire("nope.")))
    message = b"\0\0\x84\0\0\1\0\0\0\1\0\0" + to_wire("nope.") + b"\0\1\0\1" + soa
    assert dns.message.from_wire(message).authority[0].name == dns.name.root


@pytest.mark.parametrize(("primary", "contact"), [("ns.a.test.", "h.a.test."), ("ns.b.", "h.b.")])
def test_the_negative_soa_fits_any_question(primary: str, contact: str) -> None:
    """Its names point into the question, wherever the apex is in it."""
    made = zone("a.test.", minimum=9, ttl=100).model_copy(
        update={"primary": primary, "contact": contact}
    )
    (view,) = zones(made).zones
    for label in ("x", "x" * 63, "x.y", ""):
        name = to_wire(f"{label}.a.test." if label else "a.test.")
        for most, ttl in ((None, 9), (3, 3), (50, 9)):
            soa = view.negative(len(name), most)
            head = b"\0\0\x84\0\0\1\0\0\0\1\0\0" + name + b"\0\1\0\1"
            (rrset,) = dns.message.from_wire(head + soa).authority
            expected = f"a.test. {ttl} IN SOA {primary} {contact} 1 7200 900 1209600 9"
            assert rrset.to_text() == expected


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
    """No pointer reaches past offset 16,383 (RFC 1035 §4.1.4)."""
    hosts = [f"host-{number:04}.somewhere-{number // 9}.test." for number in range(900)]
    records = [("big.a.test.", "MX", f"{i} {host}") for i, host in enumerate(hosts)]
    answer = read(zones(zone("a.test.", *records)), "big.a.test.", 15)
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
        node = found.find(to_wire(name))
        assert node is not None
        assert (node[0].whoami, node[1]) == (told, True)


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
