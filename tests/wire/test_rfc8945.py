"""RFC 8945: TSIG. No key is configured, so every one is unknown."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import dns.tsig
import pytest

from wire.target import Target

KEY = dns.tsig.Key("transfer.invalid", b"0123456789abcdef")
BADKEY = 17


@pytest.mark.parametrize("edns", [False, True])
@pytest.mark.parametrize(
    ("name", "kind"),
    [("www.example.test", "A"), ("example.test", "AXFR"), ("nosuch.example.test", "A")],
)
def test_an_unknown_key(target: Target, tcp: bool, name: str, kind: str, edns: bool) -> None:
    """§5.2.1, §5.3.2: NOTAUTH; TSIG names the key, its error is BADKEY, and it has no MAC."""
    asked = dns.message.make_query(name, kind, use_edns=0 if edns else False)
    asked.use_tsig(KEY)
    octets = target.octets(asked.to_wire(), tcp=tcp)
    answer = dns.message.from_wire(octets, keyring=False)
    assert (answer.rcode(), answer.question) == (dns.rcode.NOTAUTH, asked.question)
    assert answer.answer == answer.authority == answer.additional == []
    assert answer.tsig is not None
    (told,) = answer.tsig
    assert (answer.tsig.name, told.algorithm) == (KEY.name, KEY.algorithm)
    assert (told.error, told.mac, told.original_id) == (BADKEY, b"", asked.id)
    assert (answer.edns == 0) is edns
    assert octets[-2:] == b"\0\0"  # TSIG stands last


def test_a_key_without_its_data(target: Target, tcp: bool) -> None:
    """§5.1: FORMERR."""
    asked = dns.message.make_query("www.example.test", "A")
    packet = bytearray(asked.to_wire())
    packet[11] = 1
    packet += b"\3key\0\0\xfa\0\xff\0\0\0\0\0\0"
    octets = target.octets(bytes(packet), tcp=tcp)
    assert octets[3] & 0xF == dns.rcode.FORMERR
