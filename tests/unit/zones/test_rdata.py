"""Record data: every type's own form, the form of unknown types, and what is refused."""

from __future__ import annotations

import re

import dns.name
import dns.rdata
import dns.rdatatype
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from firsthop_zones.model import Record
from firsthop_zones.names import to_wire
from firsthop_zones.rdata import CompressibleName, Rdata, domain_name, parse_rdata
from firsthop_zones.record_types import PATTERN, TYPES, canonical_type, type_code, type_name

GOOD = {
    "A": "192.0.2.1",
    "A6": r"\# 2 abcd",
    "AAAA": " 2001:db8::1 ",
    "AFSDB": "1 Afs.Example.",
    "AMTRELAY": "10 0 3 Amt.Example.",
    "APL": "1:192.0.2.0/24 !2:2001:db8::/32",
    "AVC": '"app-name:x"',
    "BRID": "aGVsbG8=",
    "CAA": r'128 issue "ca.example\; x=\"y\""',
    "CERT": "1 2 13 aGVsbG8=",
    "CNAME": "WWW.Example.",
    "CSYNC": "66 3 A NS AAAA",
    "DHCID": "AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=",
    "DLV": "60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118",
    "DNAME": "Other.Example.",
    "DS": "60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118",
    "DSYNC": "CDS NOTIFY 5359 Host.Example.",
    "EUI48": "00-00-5e-00-53-2a",
    "EUI64": "00-00-5e-ef-10-00-00-2a",
    "GPOS": "-32.6882 116.8652 10.0",
    "HHIT": "aGVsbG8=",
    "HINFO": '"x y" \\200',
    "HIP": "2 200100107B1A74DF365639CC39F1D578 AwEAAbdxyhNuSutc5EMzxTs9LBPCIkOF Rvs.Example.",
    "HTTPS": r'1 Svc.Example. alpn="h2,h3" port=8443 ipv4hint=192.0.2.1 key65333=\001x',
    "IPSECKEY": "10 3 2 Gateway.Example. AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ==",
    "ISDN": '"150862028003217" "004"',
    "KEY": "256 3 8 AQNR",
    "KX": "10 Kx.Example.",
    "L32": "10 10.1.2.0",
    "L64": "10 2001:0db8:1140:1000",
    "LOC": "51 30 12.748 N 0 7 39.611 W 0.00m 0.00m 0.00m 0.00m",
    "LP": "10 Host.Example.",
    "MB": r"\# 2 abcd",
    "MD": r"\# 2 abcd",
    "MF": r"\# 2 abcd",
    "MG": r"\# 2 abcd",
    "MINFO": r"\# 2 abcd",
    "MR": r"\# 2 abcd",
    "MX": "10 Mail.Example.",
    "NAPTR": r'100 10 "u" "E2U+sip" "!^.*$!sip:a@b.example!" .',
    "NID": "10 0014:4fff:ff20:ee64",
    "NINFO": '"x"',
    "NS": "ns1.example.",
    "NSAP": "0x47000580005a0000000001e133ffffff00016100",
    "NSAP-PTR": "Host.Example.",
    "OPENPGPKEY": "aGVsbG8=",
    "PTR": "host.example.",
    "PX": "10 Map822.Example. Mapx400.Example.",
    "RESINFO": '"qnamemin" "exterr=15-17"',
    "RP": "Ops.Example. .",
    "RT": "10 Relay.Example.",
    "SMIMEA": "3 1 1 " + "00" * 32,
    "SPF": '"v=spf1 -all"',
    "SRV": "0 5 5060 Sip.Example.",
    "SSHFP": "4 2 " + "ab" * 32,
    "SVCB": "0 Pool.Example.",
    "TA": r"\# 2 abcd",
    "TLSA": "3 1 1 " + "cd" * 32,
    "TXT": r'"a b\"c\065" d é',
    "UNSPEC": r"\# 2 abcd",
    "WALLET": '"BTC" "x"',
    "WKS": "192.0.2.1 6 25 80",
    "X25": '"311061700956"',
    "URI": '10 1 "https://a.example/?q=\\"x\\""',
}


def test_every_type_has_an_example() -> None:
    """So that none goes untested."""
    assert GOOD.keys() == TYPES.keys()


@pytest.mark.parametrize("type_", GOOD)
def test_every_type_is_what_dnspython_makes_of_it(type_: str) -> None:
    """With names and CAA tags in lower case, by its mnemonic, its number, or as octets."""
    value = parse_rdata(type_, GOOD[type_])
    theirs = dns.rdata.from_text("IN", type_, GOOD[type_].strip(), dns.name.root, relativize=False)
    assert value.wire.lower() == theirs.to_wire().lower()
    assert value.type == type_code(type_) == type_code(f"type{TYPES[type_]}")
    as_octets = rf"\# {len(value.wire)} {value.wire[:1].hex()} {value.wire[1:].hex().upper()}"
    assert parse_rdata(type_, as_octets) == value
    assert canonical_type(f"TYPE{TYPES[type_]}") == type_


def test_names_that_may_be_compressed_are_told() -> None:
    """Those of RFC 1035's types, and no others (RFC 3597 §4)."""
    name = to_wire("www.example.")
    for type_, code in (("CNAME", 5), ("NS", 2), ("PTR", 12)):
        value = parse_rdata(type_, "WWW.example")
        assert value == Rdata(code, (name,))
        assert isinstance(value.parts[0], CompressibleName)
        assert parse_rdata(type_, rf"\# {len(name)} {name.upper().hex()}").parts == (name,)
    preference, exchange = parse_rdata("MX", "10 WWW.example").parts
    assert (preference, exchange) == (b"\0\x0a", name)
    assert isinstance(exchange, CompressibleName)
    for type_ in GOOD.keys() - {"CNAME", "NS", "PTR", "MX"}:
        (part,) = parse_rdata(type_, GOOD[type_]).parts
        assert type(part) is bytes


def test_some_values_to_the_octet() -> None:
    """Escapes, tags, and parameters in ascending order (RFC 9460 §2.2)."""
    assert parse_rdata("TXT", r'"a b\"c\065" d\ e').wire == b'\6a b"cA\3d e'
    assert parse_rdata("TXT", '"a"\n"b"').wire == b"\1a\1b"
    assert parse_rdata("CAA", r'128 ISSUE "\200"').wire == b"\x80\5issue\xc8"
    assert parse_rdata("DNAME", r"X\.y.Z").wire == b"\3x.y\1z\0"
    assert parse_rdata("HTTPS", "1 . port=1 alpn=h2").wire == (
        b"\0\1\0" + b"\0\1\0\3\2h2" + b"\0\3\0\2\0\1"
    )
    assert parse_rdata("TYPE65280", r"\# 3 abCD ef").wire == b"\xab\xcd\xef"
    assert parse_rdata("TYPE65280", r"\# 0") == Rdata(65280, (b"",))
    assert parse_rdata("TYPE1", r"\# 4 C0000201") == parse_rdata("A", "192.0.2.1")
    assert parse_rdata("SRV", "0 0 1 A.b").wire == b"\0\0\0\0\0\1\1a\1b\0"
    assert domain_name("WWW.Example") == "www.example."


@pytest.mark.parametrize(
    ("type_", "text", "rule"),
    [
        ("A", "2001:db8::1", "Expected 4 octets"),
        ("A", "192.0.2.01", "Leading zeros"),
        ("A", r"\# 5 C000020100", "not valid for this type"),
        ("AAAA", "fe80::1%1", "scope id"),
        ("CNAME", "a b", "spaces"),
        ("CNAME", "@", "origin"),
        ("NS", r"\# 2 c00c", "not valid for this type"),
        ("MX", "mail.example", "preference"),
        ("MX", "65536 mail.example", "preference"),
        ("MX", "١ mail.example", "preference"),
        ("MX", "1 @", "origin"),
        ("TXT", '"open', "quote"),
        ("TXT", "a ; b", "quote"),
        ("TXT", r"\256", r"at most \\255"),
        ("TXT", r'"\25"', "escape"),
        ("TXT", "x" * 256, "255 octets"),
        ("TXT", "  ", "at least one"),
        ("TXT", '"' + '" "'.join(["x" * 255] * 257) + '"', "65535"),
        ("CAA", "0 issue", "flags tag"),
        ("CAA", "256 issue x", "flags tag"),
        ("CAA", "0 is-sue x", "flags tag"),
        ("CAA", "0", "flags tag"),
        ("CAA", "0 issue ca.example; x=y", "comment"),
        ("CAA", '0 issue "a"\n1 issue "b"', "one line"),
        ("SRV", "0 0 1", "priority weight port target"),
        ("SRV", "0 0 65536 a", "16-bit"),
        ("SRV", "0 0 1 @", "origin"),
        ("SRV", "0 0 1 höhe.example", "Punycode"),
        ("HTTPS", "0 . port=1", "AliasMode"),
        ("HTTPS", "1 . port=1 port=2", "duplicate key"),
        ("HTTPS", "1 . mandatory=mandatory", "mandatory"),
        ("HTTPS", "1 . mandatory=port", "mandatory but not present"),
        ("HTTPS", "1 . ipv4hint=2001:db8::1", "priority target"),
        ("HTTPS", r"\# 15 0001 00 0003 0002 0050 0001 0002 0168", "not valid for this type"),
        ("HTTPS", r"\# 15 0001 00 0003 0002 0050 0003 0002 0051", "not valid for this type"),
        ("SSHFP", "1 2 abc", "hex"),
        ("TLSA", "3 1 1 zz", "hex"),
        ("URI", '1 1 ""', "empty"),
        ("TYPE65280", "abcd", r"\\# length hex, such as"),
        ("MB", "host.example.", r"\\# length hex, such as"),
        ("WKS", "192.0.2.1", "the text form"),
        ("TYPE65280", r"\# 2 abc", "as many octets"),
        ("TYPE65280", r"\# 3 abcd", "as many octets"),
        ("TYPE65280", r"\#", "as many octets"),
    ],
)
def test_bad_rdata_names_type_and_rule(type_: str, text: str, rule: str) -> None:
    """A ValueError for people."""
    with pytest.raises(ValueError, match=f"rdata of {type_}: .*{rule}"):
        parse_rdata(type_, text)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("SOA", "fields of the zone"),
        ("TYPE6", "fields of the zone"),
        ("rrsig", "signed zone"),
        ("DNSKEY", "signed zone"),
        ("CDS", "signed zone"),
        ("OPT", "queries and messages"),
        ("ANY", "queries and messages"),
        ("TYPE0", "queries and messages"),
        ("TYPE128", "queries and messages"),
        ("TYPE200", "queries and messages"),
        ("NULL", "not allowed in zones"),
        ("ZONEMD", "serial"),
        ("TYPE65536", "not a known type"),
        ("TYPE-1", "not a known type"),
        ("BOGUS", r"not a known type: write TYPE and its number, and the data as \\# length hex"),
        ("", "not a known type"),
        ("\u0130N", "not a known type"),
    ],
)
def test_types_that_no_record_may_have(name: str, rule: str) -> None:
    """With the reason."""
    with pytest.raises(ValueError, match=rule):
        type_code(name)


def test_types_have_one_name() -> None:
    """And the pattern of the API's description holds every one."""
    assert (type_name(1), type_name(65280), type_code("https")) == ("A", "TYPE65280", 65)
    assert canonical_type("TYPE00257") == "CAA"
    assert all(re.match(PATTERN, each) for each in [*TYPES, "TYPE65280"])


@given(
    st.sampled_from(sorted({*TYPES, "TYPE65280", "TYPE18"})),
    st.text(max_size=60)
    | st.text(st.sampled_from('01 9afZ.\\#"=();@,-\n\t\x00é'), max_size=60)
    | st.builds(
        lambda texts, cut, junk: texts[:cut] + junk + texts[cut:],
        st.sampled_from(sorted(GOOD.values())),
        st.integers(0, 60),
        st.text(max_size=3),
    ),
)
@example("LOC", "60 60 60.999 S 181 0 0 E -1m")
@example("NAPTR", '1 1 "' + "x" * 256 + '" "" "" .')
@example("TXT", "\ud800")
@example("CERT", "PKIX 1 RSASHA1 =")
def test_no_rdata_breaks_the_parser(type_: str, text: str) -> None:
    """Any text is a value that its own octets give again, or a ValueError."""
    try:
        value = parse_rdata(type_, text)
    except ValueError as error:
        assert str(error).startswith(f"rdata of {type_}: ")
    else:
        assert parse_rdata(type_, rf"\# {len(value.wire)} {value.wire.hex()}") == value


def test_a_record_is_parsed_once() -> None:
    """When it is made; its type is canonical, and it still compares by its fields."""
    record = Record(owner="A.Example", type="TYPE1", rdata="192.0.2.1")
    assert record.type == "A"
    assert record.parsed is record.parsed
    assert "parsed" in record.__dict__
    assert record == Record(owner="a.example.", type="A", rdata="192.0.2.1")
    assert record.model_dump() == {
        "owner": "a.example.",
        "type": "A",
        "ttl": 300,
        "rdata": "192.0.2.1",
    }
    with pytest.raises(ValidationError, match="rdata of A: "):
        Record(owner="a.", type="A", rdata="x")
    with pytest.raises(ValidationError, match="signed zone"):
        Record(owner="a.", type="RRSIG", rdata="x")
