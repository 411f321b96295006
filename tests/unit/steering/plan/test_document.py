"""What a document may hold, and how its faults are told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from firsthop_steering.plan import yaml_text
from firsthop_steering.plan.document import (
    Document,
    DocumentError,
    DocumentFault,
    load_yaml,
    problems_in,
)
from firsthop_steering.plan.model import Override, Relay, Service
from firsthop_steering.plan.yaml_text import read_yaml, write_yaml
from support.schemas import Schemas
from support.worlds import ZONE

GOOD: dict[str, Any] = {
    "regions": [{"id": "fra", "latitude": 50.1, "longitude": 8.7}],
    "relays": [{"id": "fra-1", "region": "fra", "ipv4": "192.0.2.1"}],
    "transceiver_regions": [{"id": "eu", "wire_id": 7, "latitude": 50, "longitude": 8}],
    "transceivers": [{"id": "eu-1", "wire_id": 9, "region": "eu", "host": "192.0.2.9", "port": 1}],
    "zones": [ZONE],
    "services": [{"id": "s", "name": "S.Edge.Example"}],
    "overrides": [{"id": "o", "country": "DE", "mode": "only", "regions": ["fra"]}],
}


def problems(**changes: Any) -> dict[str, str]:
    """Field → rule of what is wrong with the good document once changed."""
    found = problems_in(Document.model_validate({**GOOD, **changes}))
    return {problem.field: problem.rule for problem in found}


def test_a_good_document_is_taken_and_normalised() -> None:
    """Names become lower-case and absolute."""
    document = Document.model_validate(GOOD)
    assert document.services[0].name == "s.edge.example."
    assert Document.model_validate_json(document.canonical()).digest() == document.digest()


def more(collection: str, **fields: Any) -> dict[str, Any]:
    """The collection with one more object, like the first but for some fields."""
    first = GOOD[collection][0]
    return {collection: [first, {**first, **fields}]}


def records(*each: tuple[str, str, str]) -> dict[str, Any]:
    listed = [{"owner": owner, "type": type_, "rdata": rdata} for owner, type_, rdata in each]
    return {"zones": [{**ZONE, "records": listed}]}


REFUSED = [
    (more("regions"), "regions/fra", "unique"),
    (more("relays", id="fra-2"), "relays/fra-2/ipv4", "already belongs to relay fra-1"),
    (
        more("relays", id="b", ipv4="192.0.2.2", udp_port=1, region="xx"),
        "relays/b/region",
        "no region",
    ),
    (
        more("transceiver_regions", id="us"),
        "transceiver_regions/us/wire_id",
        "7 already belongs to eu",
    ),
    (
        more("transceivers", id="b", wire_id=3),
        "transceivers/b/port",
        "already belongs to transceiver eu-1",
    ),
    (
        more("transceivers", id="b", port=2, wire_id=3, region="x"),
        "transceivers/b/region",
        "no transceiver region",
    ),
    (more("services", id="t"), "services", "two services"),
    (more("services", id="t", name="t.other."), "services/t/name", "outside every zone"),
    (more("services", id="t", name="t.edge.example", regions=["x"]), "services/t/regions", "x"),
    (
        more("services", id="t", name="t.edge.example", transceiver_regions=["x"]),
        "services/t/transceiver_regions",
        "x",
    ),
    (
        more("services", id="t", name="t.edge.example", pool="transceivers", regions=["fra"]),
        "services/t/regions",
        "its pool",
    ),
    (more("overrides", id="p"), "overrides/p", "as specifically"),
    (more("overrides", id="p", country="FR", regions=["x"]), "overrides/p/regions", "x"),
    (more("overrides", id="p", country="FR", service="x"), "overrides/p/service", "no service"),
    (
        records(("a.edge.example", "A", "192.0.2.1"), ("a.edge.example", "CNAME", "b.")),
        "zones/edge.example./records/a.edge.example./CNAME",
        "alone",
    ),
    (
        records(("a.edge.example", "CNAME", "c."), ("a.edge.example", "CNAME", "b.")),
        "zones/edge.example./records/a.edge.example./CNAME",
        "only one CNAME",
    ),
    (
        records(("other.", "A", "192.0.2.1")),
        "zones/edge.example./records/other./A",
        "not a name of zone",
    ),
    (
        records(("s.edge.example", "A", "192.0.2.1")),
        "zones/edge.example./records/s.edge.example./A",
        "steered service",
    ),
]


@pytest.mark.parametrize(("change", "field", "rule"), REFUSED, ids=[each[1] for each in REFUSED])
def test_what_does_not_hold_together_is_refused(
    change: dict[str, Any], field: str, rule: str
) -> None:
    """Each fault is told with its field and its rule."""
    found = problems(**change)
    assert rule in found.get(field, ""), found


def test_relays_may_share_an_address_on_other_ports() -> None:
    """Address and port together are what a relay holds alone, per transport."""
    assert not problems(**more("relays", id="fra-2", udp_port=3479))
    assert problems(**more("relays", id="fra-2", udp_port=3479, tcp_port=443)) == {}


@pytest.mark.parametrize(
    ("model", "fields", "rule"),
    [
        (Relay, {"id": "a", "region": "b"}, "needs an ipv4 or an ipv6"),
        (Relay, {"id": "A", "region": "b", "ipv4": "192.0.2.1"}, "should match pattern"),
        (
            Relay,
            {"id": "a", "region": "b", "ipv4": "192.0.2.1", "probe": {"kind": "tcp"}},
            "needs probe.port or tcp_port",
        ),
        (Service, {"id": "a", "name": "a..b"}, "must be a domain name"),
        (Service, {"id": "a", "name": "a." * 127 + "b"}, "at most 25"),
        (Service, {"id": "a", "name": "a.b", "when_all_down": "fallback"}, "needs at least one"),
        (Service, {"id": "a", "name": "a.b", "ttl": 10, "ttl_max": 5}, "within ttl_min"),
        (Override, {"id": "a", "mode": "only", "regions": ["b"]}, "exactly one"),
        (
            Override,
            {"id": "a", "mode": "only", "regions": ["b"], "cidr": "10.0.0.1/8"},
            "host bits set",
        ),
        (
            Override,
            {"id": "a", "mode": "only", "regions": ["b"], "cidr": "2001:db8::/65"},
            "/64 or wider",
        ),
        (
            Override,
            {"id": "a", "mode": "only", "regions": ["b"], "cidr": "2002:a00::/24"},
            "IPv4",
        ),
    ],
)
def test_values_that_break_a_rule_are_refused(model: Any, fields: Any, rule: str) -> None:
    """Each model names the rule."""
    with pytest.raises(ValidationError, match=rule):
        model.model_validate(fields)


YAML = """
regions:
  - id: fra
    latitude: 50
    longitude: 8
relays:
  - id: fra-1
    region: fra
    ipv4: 192.0.2.1
"""


def yaml_problems(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        load_yaml(text)
    return [str(problem) for problem in caught.value.problems]


def test_yaml_faults_name_their_line() -> None:
    """Unknown keys, repeated keys, bad values and bad syntax all say where."""
    assert load_yaml(YAML).regions[0].id == "fra"
    assert yaml_problems(YAML.replace("latitude", "latitud"))[0].startswith("line 3: regions/0")
    assert "line 4" in yaml_problems(YAML.replace("latitude", "latitud"))[1]
    assert yaml_problems(YAML + "\nregions: []\n") == ["line 11: regions: key is repeated"]
    assert yaml_problems(YAML.replace("latitude: 50", "latitude: 91"))[0].startswith("line 4:")
    assert yaml_problems("regions: [")[0].startswith("line 1: document: is not YAML")
    assert yaml_problems("- 1")[0] == "line 1: document: must be a mapping of collections"
    assert yaml_problems("")[0].endswith("must be a mapping of collections")
    assert yaml_problems("regions: 5")[0].startswith("line 1: regions: ")
    assert "names no region" in yaml_problems(YAML.replace("region: fra", "region: xx"))[0]


ALIASES = [
    "a: &a [x, x]\nb: &b [*a, *a]\nregions: [*b, *b]",
    "regions: &a [*a]",
    "x: &x {id: fra}\nregions:\n- <<: *x",
]


@pytest.mark.parametrize("text", ALIASES)
def test_aliases_are_refused(text: str) -> None:
    """A few lines of aliases stand for gigabytes, or for a value without an end."""
    assert "aliases (*name) are not supported" in yaml_problems(text)[0]


def test_yaml_beyond_its_bounds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Depth, length and the number of reported faults have bounds; tags make no objects."""
    assert yaml_problems("[" * 100_000) == ["line 1: document: is nested too deeply"]
    assert "tags" in yaml_problems("regions: !!set {a, b}")[0]
    assert "tags" in yaml_problems("regions: !!python/object/apply:os.abort []")[0]
    assert len(yaml_problems("regions: [" + "{}, " * 1000 + "]")) == 20
    monkeypatch.setattr(yaml_text, "MAX_CHARACTERS", 10)
    assert yaml_problems("regions: []") == ["document: has more than 10 characters"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("    ipv4: 3221225985", "line 9: relays/0/ipv4: must be text"),
        ("    ipv4: false", "line 9: relays/0/ipv4: must be text"),
        ("    ipv4: 192.0.2.1\n    weight: '5'", "line 10: relays/0/weight: Input should be"),
        ("    ipv4: 192.0.2.1\n    weight: true", "line 10: relays/0/weight: Input should be"),
        ("    ipv4: 192.0.2.1\n    udp_port: 1e3", "line 10: relays/0/udp_port: Input should be"),
        (
            "    ipv4: 192.0.2.1\n    failure_domain: 2",
            "line 10: relays/0/failure_domain: must be text: write",
        ),
        (
            "    ipv4: 192.0.2.1\n    probe: {verify: yes}",
            "line 10: relays/0/probe/verify: must be true or false",
        ),
        (
            "    ipv4: 192.0.2.1\n    forced: {verdict: up, until: 1767225600}",
            "line 10: relays/0/forced/until: must be text",
        ),
        (
            "    ipv4: 192.0.2.1\n    forced: {verdict: up, until: '1767225600'}",
            "line 10: relays/0/forced/until: must be a time with its offset",
        ),
    ],
)
def test_yaml_types_are_as_strict_as_those_of_json(line: str, problem: str) -> None:
    """No number, boolean or text is taken for a value of another type."""
    text = YAML.replace("    ipv4: 192.0.2.1", line)
    assert yaml_problems(text)[0].startswith(problem)


def test_yaml_reads_what_is_written() -> None:
    """YAML 1.1 would read these as a number in base 60, and as a date."""
    text = YAML.replace("192.0.2.1", "192.0.2.1\n    ipv6: 2001:10:20:30:40:50:1:2")
    text += "    forced: {verdict: up, until: 2026-12-31T18:00:00+01:00}\n"
    (relay,) = load_yaml(text).relays
    assert str(relay.ipv6) == "2001:10:20:30:40:50:1:2"
    assert relay.forced is not None
    assert relay.forced.until == datetime(2026, 12, 31, 17, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("030", 30),
        ("-0x1F", "-0x1F"),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 17),
        ("1e3", 1000.0),
        ("1_000", "1_000"),
        ("190:20:30", "190:20:30"),
        (".inf", ".inf"),
        ("1e999", "1e999"),
        ("9" * 5000, "9" * 5000),
        ("2026-11-31", "2026-11-31"),
        ("NO", "NO"),
        ("yes", "yes"),
        ("True", True),
        ("NULL", None),
        ("=", "="),
        ("<<", "<<"),
    ],
)
def test_unquoted_values_are_those_of_the_core_schema(written: str, value: object) -> None:
    """YAML 1.2.2 §10.3.2, without infinities; what is written back is read alike."""
    assert read_yaml(f"a: {written}").value() == {"a": value}
    assert read_yaml(f"a: '{written}'").value() == {"a": written}


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("C",)), max_size=20))
@example("1e3")
@example("0o17")
@example("NO")
@example("2001:10:20:30:40:50:1:2")
def test_what_is_written_is_read_alike(text: str) -> None:
    """An exported document is the document, whatever its texts look like."""
    assert read_yaml(write_yaml({"a": [text, 1, 1.5, None, True]})).value() == {
        "a": [text, 1, 1.5, None, True]
    }


def test_an_address_and_a_country_are_what_is_written() -> None:
    """`2001:10:20:30:40:50:10:20` is that address, `NO` is Norway, and a TTL of 030 is 30 s."""
    document = load_yaml(
        YAML.replace("192.0.2.1", "192.0.2.1\n    ipv6: 2001:10:20:30:40:50:10:20")
        + "overrides: [{id: b, country: NO, mode: only, regions: [fra]}]\n"
        + "zones: [{apex: z.test., primary: a.b., contact: a.b., name_servers: [a.b.], ttl: 030}]\n"
    )
    assert str(document.relays[0].ipv6) == "2001:10:20:30:40:50:10:20"
    assert document.overrides[0].country == "NO"
    assert document.zones[0].ttl == 30


def test_rules_between_objects_have_lines() -> None:
    """So have those of one object that are found after reading, and those of the caller."""
    text = YAML.replace("region: fra", "region: xx") + (
        "zones:\n- {apex: z.test., primary: a.b., contact: a.b., name_servers: [a.b.],\n"
        "   records: [\n    {owner: a.z.test., type: A, rdata: 192.0.2.1},\n"
        "    {owner: a.z.test., type: CNAME, rdata: b.}]}\n"
    )
    found = yaml_problems(text)
    assert found[0].startswith("line 8: relays/fra-1/region: names no region")
    assert found[1].startswith("line 14: zones/z.test./records/a.z.test./CNAME: a CNAME must")
    with pytest.raises(DocumentError, match="line 4: regions/fra/latitude: too far north"):
        load_yaml(YAML, also=lambda _: [DocumentFault("regions/fra/latitude", "too far north")])


def test_zones_in_files_keep_their_places_and_lines() -> None:
    """A fault in a written zone names its place and line, with zones from files around it."""
    zone = "@ 60 IN SOA ns.{0} h.{0} 1 1 1 1 1\n@ 60 IN NS ns.x.\n"
    text = (
        "zones:\n- file: a\n- {apex: b.test., primary: ns.x., contact: h.x., name_servers: [ns.x.]}"
        "\n- file: c\n"
    )

    def read(name: str) -> str:
        return f"$ORIGIN {name}.test.\n" + zone.format(f"{name}.test.")

    assert [each.apex for each in load_yaml(text, read).zones] == ["a.test.", "b.test.", "c.test."]
    with pytest.raises(DocumentError) as caught:
        load_yaml(text.replace("contact", "kontakt"), read)
    assert [str(each) for each in caught.value.problems] == [
        "line 3: zones/1/contact: Field required",
        "line 3: zones/1/kontakt: Extra inputs are not permitted",
    ]


@pytest.mark.fuzz
@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Any text is a document or a DocumentError."""
    try:
        load_yaml(text)
    except DocumentError as error:
        assert error.problems


SCHEMA = Document.model_json_schema(ref_template="#/$defs/{model}")
DOCUMENTS = Schemas({"components": {"schemas": SCHEMA["$defs"]}}, ["fra", "eu"]).values(SCHEMA)


@pytest.mark.fuzz
@given(DOCUMENTS, st.integers(0, 2**32), st.text(max_size=3))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_no_document_breaks_the_reader(document: Any, at: int, put: str) -> None:
    """YAML of the right shape, whole or with a few characters replaced."""
    text = yaml.safe_dump(document)
    at %= len(text)
    for each in (text, text[:at] + put + text[at + len(put) :]):
        try:
            load_yaml(each)
        except DocumentError as error:
            assert error.problems
