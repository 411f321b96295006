"""RFC 9460: SVCB and HTTPS, octet by octet."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import dns.message
import dns.rcode
import pytest

from wire.octets import WireRecord, read_name, walk
from wire.target import Target, negative_ttl


def records(target: Target, name: str, kind: str, *, tcp: bool = True) -> list[WireRecord]:
    """Those of the answer section."""
    packet = dns.message.make_query(f"{name}.example.test", kind).to_wire()
    return list(walk(target.whole(packet, tcp=tcp)).answer)


def parameters(record: WireRecord) -> Iterator[tuple[int, bytes]]:
    """Keys and values in the order of the wire."""
    at = read_name(record.data, 2).end
    while at < len(record.data):
        key, length = struct.unpack_from(">HH", record.data, at)
        at += 4 + length
        assert at <= len(record.data)
        yield key, record.data[at - length : at]


def test_a_service(target: Target, tcp: bool) -> None:
    """§2.2, §7 [55]: keys ascend though the zone file has them otherwise."""
    (record,) = records(target, "www", "HTTPS", tcp=tcp)
    assert record.data[:3] == b"\0\1\0"
    assert dict(parameters(record)) == {
        1: b"\2h2\2h3",
        3: (8443).to_bytes(2, "big"),
        4: bytes([192, 0, 2, 80, 192, 0, 2, 81]),
        6: bytes.fromhex("20010db8000000000000000000000080"),
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [("www", "HTTPS"), ("_dns", "SVCB"), ("_other", "SVCB"), ("alias", "HTTPS"), ("", "HTTPS")],
)
def test_keys_ascend(target: Target, name: str, kind: str) -> None:
    """§2.2 [55]: strictly, so none stands twice."""
    owner = name or "@"
    packet = dns.message.make_query(
        "example.test" if owner == "@" else f"{name}.example.test", kind
    ).to_wire()
    found = walk(target.octets(packet, tcp=True)).answer
    assert found
    for record in found:
        keys = [key for key, _ in parameters(record)]
        assert keys == sorted(set(keys))


def test_mandatory(target: Target, tcp: bool) -> None:
    """§8 [55]: ascending, without itself, and each of them is there."""
    found = [dict(parameters(each)) for each in records(target, "_dns", "SVCB", tcp=tcp)]
    (mandatory,) = (each[0] for each in found if 0 in each)
    assert mandatory == bytes([0, 1, 0, 3])


def test_the_other_keys(target: Target, tcp: bool) -> None:
    """§2.1, §7.1.1 [55]: no-default-alpn is empty; private keys are octets."""
    (record,) = records(target, "_other", "SVCB", tcp=tcp)
    due = {1: b"\2h2", 2: b"", 65000: b"abc", 65400: b"odd\1value"}
    assert dict(parameters(record)) == due


def test_an_alias_has_no_parameters(target: Target, tcp: bool) -> None:
    """§2.4.2 [55]: priority 0, a whole target, nothing else."""
    (record,) = records(target, "alias", "HTTPS", tcp=tcp)
    assert record.data == b"\0\0\3www\7example\4test\0"


def test_names_without_it_are_nodata(target: Target, tcp: bool) -> None:
    """[22]: browsers ask for it at every name."""
    answer = target.ask("ns1.example.test", "HTTPS", tcp=tcp)
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
    assert negative_ttl(answer) == 60


def test_additional_addresses(target: Target) -> None:
    """§4.1 [41, 55]: "SHOULD" for the target's addresses."""
    told = target.ask("alias.example.test", "HTTPS").additional
    assert {str(each.name) for each in told} == {"www.example.test."}
