"""Zone files: what RFC 1035 §5 lets stand in them, and how their faults are told."""

from __future__ import annotations

from typing import Any

import dns.rdatatype
import dns.zone
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from firsthop_steering.plan.document import DocumentError, load_yaml
from firsthop_zones.faults import text_of
from firsthop_zones.model import Zone
from firsthop_zones.zonefile import read_zone

SOA = "@ SOA ns1 host 2026010100 2h 900 1209600 60\n@ NS ns1\n"
HEAD = "$ORIGIN a.test.\n$TTL 300\n" + SOA
WHOLE = r"""; a comment
$ORIGIN A.Test.
$TTL 1h
@ 1d IN SOA ns1 Host\.Master (
        2026010100 ; serial
        2h 15m
        2w 1m )
    NS ns1
    IN NS ns2.Other.
    MX 10 @
ns1 600 IN A 192.0.2.1
    IN 900 A 192.0.2.1 ; again, and the least TTL holds
    AAAA 2001:db8::1
_sip._tcp SRV 0 5 5060 sip
www CNAME ns1
txt TXT "a ; b" c "d \" e" (
  "f" )
odd\.label\032x TXT "("
$ORIGIN sub.a.test.
@ NS ns
ns A 192.0.2.9
@ DS 1 13 2 abababababababababababababababababababababababababababababababab
$ORIGIN a.test.
svc HTTPS 1 . alpn="h2,h3" port=8443
alias HTTPS 0 www
nap NAPTR 1 1 "u" "E2U+sip" "!^.*$!sip:a@b!" .
who RP host who
new TYPE65280 \# 2 ab CD
old CLASS1 TYPE1 \# 4 C0000201
*.wild TXT x
"""


def read(text: str, apex: str | None = None) -> Zone:
    return read_zone(text, source="z", apex=apex)


def faults(text: str, apex: str | None = None) -> list[str]:
    """`line: rule` of each problem."""
    with pytest.raises(DocumentError) as caught:
        read(text, apex)
    assert {each.field for each in caught.value.problems} == {"z"}
    return [f"{each.line}: {each.rule}" for each in caught.value.problems]


def records(zone: Zone) -> list[tuple[str, int, str, str]]:
    return [(each.owner, each.ttl, each.type, each.rdata) for each in zone.records]


def test_a_zone_file_is_read_whole() -> None:
    """Relative names, left-out owners, TTLs and classes, parentheses, quotes, comments, escapes."""
    zone = read(WHOLE)
    assert (zone.apex, zone.primary, zone.contact) == (
        "a.test.",
        "ns1.a.test.",
        r"host\.master.a.test.",
    )
    assert (zone.refresh, zone.retry, zone.expire, zone.minimum) == (7200, 900, 1209600, 60)
    assert (zone.ttl, zone.name_servers_ttl) == (86400, 3600)
    assert zone.name_servers == ("ns1.a.test.", "ns2.other.")
    digest = "ab" * 32
    assert records(zone) == [
        ("a.test.", 3600, "MX", "10 a.test."),
        ("ns1.a.test.", 600, "A", "192.0.2.1"),
        ("ns1.a.test.", 3600, "AAAA", "2001:db8::1"),
        ("_sip._tcp.a.test.", 3600, "SRV", "0 5 5060 sip.a.test."),
        ("www.a.test.", 3600, "CNAME", "ns1.a.test."),
        ("txt.a.test.", 3600, "TXT", r'"a ; b" c "d \" e" "f"'),
        (r"odd\.label\032x.a.test.", 3600, "TXT", '"("'),
        ("sub.a.test.", 3600, "NS", "ns.sub.a.test."),
        ("ns.sub.a.test.", 3600, "A", "192.0.2.9"),
        ("sub.a.test.", 3600, "DS", f"1 13 2 {digest}"),
        ("svc.a.test.", 3600, "HTTPS", '1 . alpn="h2,h3" port=8443'),
        ("alias.a.test.", 3600, "HTTPS", "0 www.a.test."),
        ("nap.a.test.", 3600, "NAPTR", '1 1 "u" "E2U+sip" "!^.*$!sip:a@b!" .'),
        ("who.a.test.", 3600, "RP", "host.a.test. who.a.test."),
        ("new.a.test.", 3600, "TYPE65280", r"\# 2 ab CD"),
        ("old.a.test.", 3600, "A", r"\# 4 C0000201"),
        ("*.wild.a.test.", 3600, "TXT", "x"),
    ]


def test_it_says_what_dnspython_reads() -> None:
    """The same RRsets, octet by octet."""
    theirs = {
        (name.to_text().lower(), rdataset.rdtype, value.to_digestable())
        for name, rdataset in dns.zone.from_text(WHOLE, relativize=False).iterate_rdatasets()
        for value in rdataset
        if rdataset.rdtype != dns.rdatatype.SOA
    }
    zone = read(WHOLE)
    ours = {(each.owner, each.parsed.type, each.parsed.wire) for each in zone.records}
    apex = {each for each in theirs if each[:2] == ("a.test.", dns.rdatatype.NS)}
    assert len(apex) == 2
    assert ours == theirs - apex


def test_ttls() -> None:
    """$TTL, else the last one stated (RFC 1035 §5.1), else the SOA's MINIMUM."""
    zone = read("$ORIGIN a.test.\nx A 192.0.2.1\n@ SOA n h 1 1 1 1 77\n NS n\n")
    assert (zone.ttl, zone.name_servers_ttl, zone.records[0].ttl) == (77, None, 77)
    zone = read("$ORIGIN a.test.\n@ 9 SOA n h 1 1 1 1 77\n 8 NS n\nx A 192.0.2.1\n")
    assert (zone.ttl, zone.name_servers_ttl, zone.records[0].ttl) == (9, 8, 8)
    zone = read("$ORIGIN a.test.\n@ 9 SOA n h 1 1 1 1 77\n NS n\n$TTL 1m30s\nx A 192.0.2.1\n")
    assert (zone.name_servers_ttl, zone.records[0].ttl) == (None, 90)


def test_the_apex_is_given_or_said() -> None:
    """Given, it is the first origin and a check."""
    assert read(SOA, "A.test").apex == "a.test."
    assert read(HEAD, "a.test.").apex == "a.test."
    assert read("b.test. 1 SOA n.b.test. h.b.test. 1 1 1 1 1\nb.test. NS n.b.test.").apex == (
        "b.test."
    )
    assert faults(SOA) == [
        "1: @ is relative, and no $ORIGIN is known",
        "2: @ is relative, and no $ORIGIN is known",
    ]
    assert faults(HEAD, "b.test.") == ["3: the SOA belongs to a.test., not to b.test."]
    assert faults(SOA, "b..test")[0] == "None: must be a domain name: a label is empty"
    root = read(". 1 SOA a. b. 1 1 1 1 1\n. NS a.\n$ORIGIN .\nx A 192.0.2.1\n")
    assert (root.apex, root.records[0].owner) == (".", "x.")


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("x A 192.0.2.256", "x.a.test. A: rdata of A"),
        ("x A", "needs a type and data"),
        ("x MX 10", "x.a.test. MX: rdata of MX"),
        ("x TXT a\\", "a backslash ends the line"),
        ('x TXT "a', "a quote is not closed"),
        ("x TXT ( a", "a parenthesis is not closed"),
        ("x TXT a )", "a parenthesis is closed"),
        ("x", "needs a type and data"),
        ("x 300 IN", "needs a type and data"),
        ("x BOGUS a", "BOGUS is not a known type"),
        ("x RRSIG a", "signed zone"),
        ("x CH TXT a", "class CH is not served"),
        ("x 2147483648 A 192.0.2.1", "RFC 2181 §8"),
        ("x 1y A 192.0.2.1", "1y is not a TTL"),
        ("x.b.test. A 192.0.2.1", "x.b.test. is not a name of zone a.test."),
        ("b..c A 192.0.2.1", "a label is empty"),
        ('"x" A 192.0.2.1', "must not be quoted"),
        ('x CNAME "y"', "must not be quoted"),
        ("höhe A 192.0.2.1", "Punycode"),
        ("$INCLUDE /etc/passwd", "$INCLUDE is not supported here"),
        ("$INCLUDE", "needs a file"),
        ("$UNKNOWN x", "$UNKNOWN is not supported"),
        ("$GENERATE 1-9", "$GENERATE needs a range, an owner"),
        ("$GENERATE 9-1 x$ A 192.0.2.$", "the range of $GENERATE must be"),
        ("$GENERATE 1-9/0 x$ A 192.0.2.$", "the range of $GENERATE must be"),
        ("$GENERATE 0-65536 x$ A 192.0.2.1", "at most 65,536 records"),
        ("$GENERATE 1-2 x${0,999} A 192.0.2.1", "its width at most 255"),
        ("$GENERATE 1-2 x${-2} A 192.0.2.1", "is at least 0"),
        ("$GENERATE 1-2 x${1,2,z} A 192.0.2.1", "a modifier of $GENERATE must be"),
        ("$GENERATE 254-256 x$ A 192.0.2.$", "x256.a.test. A: rdata of A"),
        ("$GENERATE 1-2 x CNAME c$", "a name may have only one CNAME"),
        ("$TTL", "$TTL needs exactly one argument"),
        ("$ORIGIN a b", "$ORIGIN needs exactly one argument"),
        ("@ SOA ns1 host 1 1 1 1 1", "more than one SOA"),
        ("x SOA ns1 host 1 1 1 1 1", "more than one SOA"),
        ("ns1 CNAME x\nns1 A 192.0.2.1", "ns1.a.test. CNAME: a CNAME must be alone"),
        ("d DNAME x\n\ny.d A 192.0.2.1", "y.d.a.test. A: no record may be below the DNAME"),
        ("@ NS \\# 1 ff", "a.test. NS: rdata of NS"),
    ],
)
def test_a_fault_is_told_with_its_line(line: str, rule: str) -> None:
    """A zone file is taken whole or not at all."""
    (told,) = faults(HEAD + "\n" + line + "\n")
    number, _, said = told.partition(": ")
    at_fault = 8 if "\n\n" in line else 6
    assert number == str(at_fault)
    assert rule in said


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "there is no SOA"),
        ("$ORIGIN a.test.\nx A 192.0.2.1", "there is no SOA"),
        ("$ORIGIN a.test.\n@ SOA n h 1 1 1 1 1", "the apex a.test. has no NS"),
        ("$ORIGIN a.test.\n@ SOA n h 1 1 1 1\n@ NS n", "rdata of SOA: must be"),
        ("$ORIGIN a.test.\n@ SOA n h x 1 1 1 1\n@ NS n", "rdata of SOA: must be"),
        ("$ORIGIN a.test.\n@ SOA n h 1 1 1 1 x\n@ NS n", "rdata of SOA: x is not a TTL"),
        (" A 192.0.2.1", "needs an owner"),
        (HEAD + "".join(f"@ NS n{n}\n" for n in range(13)), "NS of the apex"),
    ],
)
def test_a_zone_needs_a_start_and_servers(text: str, rule: str) -> None:
    """Exactly one SOA, and one NS at least, at the apex."""
    assert rule in faults(text)[0]


def test_generated_records_are_those_of_bind() -> None:
    """The patterns of its manual: numbers, offsets, widths, bases, nibbles, and a plain `$`."""
    zone = read(
        HEAD
        + "$GENERATE 1-2 h$ 60 IN A 192.0.2.$\n"
        + "$GENERATE 8-16/8 p${-1,3,d}.${0,2,x} CNAME $.z\n"
        + '$GENERATE 1-1 a\\$$$ TXT "${0,4,X} $"\n'
        + "$GENERATE 18-18 ${0,3,n}.${4095,0,N}.rev PTR h${1}\n"
        + "x A 192.0.2.9\n"
    )
    assert [(each.owner, each.ttl, each.type, each.rdata) for each in zone.records] == [
        ("h1.a.test.", 60, "A", "192.0.2.1"),
        ("h2.a.test.", 60, "A", "192.0.2.2"),
        ("p007.08.a.test.", 300, "CNAME", "8.z.a.test."),
        ("p015.10.a.test.", 300, "CNAME", "16.z.a.test."),
        (r"a\$\$.a.test.", 300, "TXT", '"0001 1"'),
        ("2.1.1.1.0.1.rev.a.test.", 300, "PTR", "h19.a.test."),
        ("x.a.test.", 300, "A", "192.0.2.9"),
    ]


def test_included_files_are_read_in_place() -> None:
    """Relative to the including file; with their own origin, after which the former one holds."""
    files = {
        "z/sub/one.inc": "@ A 192.0.2.1\nb A 192.0.2.2\n$ORIGIN x.\n",
        "z/two.inc": "d 9 A 192.0.2.3\n$INCLUDE 'three.inc\nd A y\n",
    }

    def read_file(path: str) -> str:
        if path not in files:
            raise FileNotFoundError(2, "No such file or directory")
        return files[path]

    text = HEAD + "c A 192.0.2.9\n$INCLUDE sub/one.inc o\n A 192.0.2.10\ne A 192.0.2.11\n"
    zone = read_zone(text, source="z/a.zone", apex=None, read_file=read_file)
    assert [(each.owner, each.rdata) for each in zone.records] == [
        ("c.a.test.", "192.0.2.9"),
        ("o.a.test.", "192.0.2.1"),
        ("b.o.a.test.", "192.0.2.2"),
        ("c.a.test.", "192.0.2.10"),
        ("e.a.test.", "192.0.2.11"),
    ]
    with pytest.raises(DocumentError) as caught:
        read_zone(HEAD + "$INCLUDE two.inc", source="z/a.zone", apex=None, read_file=read_file)
    assert [str(each) for each in caught.value.problems] == [
        "line 2: z/two.inc: z/'three.inc cannot be read: No such file or directory",
    ]
    files["z/two.inc"] = "d A y\n"
    with pytest.raises(DocumentError) as caught:
        read_zone(HEAD + "$INCLUDE two.inc", source="z/a.zone", apex=None, read_file=read_file)
    assert str(caught.value).startswith("line 1: z/two.inc: d.a.test. A: rdata of A")


@pytest.mark.parametrize(
    ("includes", "rule"),
    [
        ({"a": "b", "b": "a"}, "line 1: b: a includes itself"),
        ({f"f{n}": f"f{n + 1}" for n in range(9)} | {"a": "f0"}, "8 deep"),
        ({"a": "b\n$INCLUDE " * 1000 + "b", "b": ""}, "at most 1,000 files"),
    ],
)
def test_includes_have_bounds(includes: dict[str, str], rule: str) -> None:
    """In depth and number; a file that includes itself, also through others, is refused."""
    files = {name: f"$INCLUDE {each}\n" if each else "" for name, each in includes.items()}
    with pytest.raises(DocumentError, match=rule):
        read_zone(files["a"], source="a", apex="a.test.", read_file=files.__getitem__)


def test_names_in_data_are_relative_to_the_origin() -> None:
    """In the data of every type that has some; gateways are names only if they say so."""
    lines = (
        "x KX 1 k\nx AFSDB 1 k\nx PX 1 k k\nx IPSECKEY 1 3 2 k AQNR\nx LP 1 k\n"
        "x AMTRELAY 1 0 3 k\nx HIP 2 20 AQNR k\nx RT 1 k\nx NSAP-PTR k\nx DSYNC CDS NOTIFY 1 k\n"
    )
    name = b"\x01k\x01a\x04test\x00"
    records = read(HEAD + lines).records
    assert len(records) == 10
    assert all(name in each.parsed.wire for each in records)
    (other,) = read(HEAD + "x IPSECKEY 1 1 2 192.0.2.1 AQNR\n").records
    assert b"\xc0\x00\x02\x01" in other.parsed.wire


def test_types_of_former_days_are_types() -> None:
    """SPF beside TXT, as many zones still have it."""
    text = HEAD + '@ IN TXT "v=spf1 -all"\n@ IN SPF "v=spf1 -all"\n'
    assert [each.type for each in read(text).records] == ["TXT", "SPF"]


def test_limits_speak_of_the_thing() -> None:
    """Of name servers, at the last of them."""
    (told,) = faults(HEAD + "".join(f"@ NS n{n}.other.test.\n" for n in range(14)))
    assert told.startswith(
        f"{HEAD.count(chr(10)) + 14}: NS of the apex a.test.: has 15 name servers"
    )
    assert told.endswith("at most 13 are allowed")


def test_octets_that_are_no_text_have_a_place() -> None:
    """Line and column, so that an editor finds them, also in a comment."""
    with pytest.raises(DocumentError) as caught:
        text_of("$TTL 300\n; é K".encode() + b"\xf6ln office\n", "x.zone")
    rule = "line 2: x.zone: column 6: octet 0xF6 is not UTF-8; convert the file"
    assert [str(each) for each in caught.value.problems] == [rule]
    assert text_of(b"\xef\xbb\xbf@", "x.zone") == "@"


def test_what_a_transfer_prints_is_a_zone() -> None:
    """`dig axfr`: comments around it, absolute names, and the SOA once more at its end."""
    soa = "z.test.\t\t\t300\tIN\tSOA\tns1.z.test. host.z.test. 1 7200 900 1209600 60\n"
    zone = read(
        f"\n; <<>> DiG 9.18 <<>> axfr z.test @192.0.2.1\n;; global options: +cmd\n{soa}"
        "z.test.\t\t\t300\tIN\tNS\tns1.z.test.\nns1.z.test.\t\t300\tIN\tA\t192.0.2.1\n"
        f"{soa};; Query time: 0 msec\n;; XFR size: 4 records (messages 1, bytes 200)\n",
        "z.test.",
    )
    assert (zone.name_servers, len(zone.records)) == (("ns1.z.test.",), 1)


def test_faults_are_told_together_but_not_without_end() -> None:
    """One run tells what there is to mend."""
    assert len(faults(HEAD + "x A y\nz A y\n")) == 2
    assert len(faults(HEAD + "x A y\n" * 1000)) == 20


PIECES = [
    *("@", "x", " ", "\t", "\n", "(", ")", '"', ";", "\\", "$ORIGIN ", "$TTL ", "a.test.", "\\#"),
    *(" A 192.0.2.1", " NS ns", " TXT ", "300", " IN ", "SOA", "é", "\r", "\0"),
]


@pytest.mark.fuzz
@example([" TXT ", "@", "\r", "\r"], True)
@example([" TXT (", "@", "\r", ")"], True)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=30), st.booleans())
def test_no_text_breaks_the_reader(pieces: list[str], start: bool) -> None:
    """Any text is a zone, or a DocumentError with rules; what is read is read again the same."""
    text = (HEAD if start else "") + "".join(pieces)
    try:
        zone = read(text, "a.test.")
    except DocumentError as error:
        assert all(each.field == "z" and each.rule for each in error.problems)
    else:
        written = "".join(
            f"{each.owner} {each.ttl} {each.type} {each.rdata}\n" for each in zone.records
        )
        assert read(HEAD + written).records == zone.records


@pytest.mark.fuzz
@given(st.integers(0, len(WHOLE)), st.integers(0, 9), st.text(max_size=2))
def test_no_damage_breaks_the_reader(at: int, lost: int, put: str) -> None:
    """A good file with some characters gone or new."""
    try:
        read(WHOLE[:at] + put + WHOLE[at + lost :])
    except DocumentError as error:
        assert 0 < len(error.problems) <= 20


def loaded(zone: dict[str, Any], **files: str) -> Zone:
    """The zone of a document that names a file."""

    def read_file(path: str) -> str:
        if path not in files:
            raise FileNotFoundError(2, "No such file", path)
        return files[path]

    lines = "\n    ".join(f"{key}: {value}" for key, value in zone.items())
    return load_yaml(f"zones:\n  - {lines}\n", read_file).zones[0]


def test_a_document_takes_a_zone_from_a_file() -> None:
    """As if it were written there; the apex beside it is a check."""
    assert loaded({"file": "z"}, z=HEAD) == read(HEAD)
    assert loaded({"apex": "a.test", "file": "z"}, z=SOA).apex == "a.test."
    for zone, rule in (
        ({"apex": "b.test", "file": "z"}, "line 3: z: the SOA belongs to a.test., not to b.test."),
        ({"file": "y"}, "line 2: zones/0/file: y cannot be read: "),
        ({"file": "[z]"}, "line 2: zones/0/file: must be a path"),
        (
            {"file": "z", "ttl": "5"},
            "line 2: zones/0/file: only apex is allowed beside it, not ttl",
        ),
    ):
        with pytest.raises(DocumentError) as caught:
            loaded(zone, z=HEAD)
        assert str(caught.value).startswith(rule)
    with pytest.raises(DocumentError, match="line 1: zones/0/file: zone files cannot be read here"):
        load_yaml("zones: [{file: z}]")
    with pytest.raises(DocumentError, match=r"services/s/name: x\.a\.test\. belongs to another"):
        load_yaml(
            "zones: [{file: z}]\nservices: [{id: s, name: x.a.test}]", lambda _: HEAD + "x NS n.\n"
        )
