"""RFC 8906: silence is the worst answer. Its list of tests (§8), and what load balancers fail."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest

from wire.target import Target, negative_ttl

HEADER_ONLY = bytes.fromhex("1234 0000 0000 0000 0000 0000")
OPTIONS = [
    dns.edns.GenericOption(3, b""),
    dns.edns.GenericOption(10, bytes(range(8))),
    dns.edns.ECSOption("0.0.0.0", 0, 0),
    dns.edns.GenericOption(9, b""),
]


def soa(**fields: object) -> dns.message.Message:
    """A question for the SOA, with EDNS as told."""
    return dns.message.make_query("example.test", "SOA", **fields)


def test_configured(target: Target, tcp: bool) -> None:
    """§8.1.1, §8.1.5 [1, 17]: SOA with AA, over TCP too."""
    answer = target.ask("example.test", "SOA", edns=False, tcp=tcp)
    assert answer.answer
    assert answer.flags == dns.flags.QR | dns.flags.AA


@pytest.mark.parametrize("flag", [0x0400, 0x0200, 0x0080, 0x0040, 0x0020, 0x0010, 0x07F0])
def test_only_rd_is_copied(target: Target, tcp: bool, flag: int) -> None:
    """§3.1.3, §8.1.3 [2, 3]: AA, TC, RA, Z, AD of a query mean nothing and do not come back."""
    asked = soa()
    for rd in (0, dns.flags.RD):
        packet = bytearray(asked.to_wire())
        packet[2:4] = (flag & ~dns.flags.RD | rd).to_bytes(2, "big")
        answer = target.exchange(bytes(packet), tcp=tcp)
        copied = flag & dns.flags.CD  # some copy it: RFC 4035 §3.1.6 says SHOULD
        assert answer.flags & ~copied == dns.flags.QR | dns.flags.AA | rd
        assert answer.answer


@pytest.mark.decision("an rcode in a query is ignored as the flags are")
def test_the_rcode_of_a_query_means_nothing(target: Target, tcp: bool) -> None:
    """§3.1.3 [2]."""
    packet = bytearray(soa().to_wire())
    packet[3] |= 0xF
    answer = target.exchange(bytes(packet), tcp=tcp)
    assert answer.rcode() == dns.rcode.NOERROR
    assert answer.answer


@pytest.mark.parametrize("opcode", [3, 7, 15])
def test_unknown_opcodes(target: Target, tcp: bool, opcode: int) -> None:
    """§3.1.4, §8.1.4 [5]: NOTIMP with the opcode, without AA; a header is enough."""
    packet = HEADER_ONLY[:2] + bytes([opcode << 3, 0]) + HEADER_ONLY[4:]
    answer = target.octets(packet, tcp=tcp)
    assert answer == b"\x12\x34" + bytes([0x80 | opcode << 3, 4]) + bytes(8)


@pytest.mark.decision("all flags of NOTIMP are 0; some copy RD")
@pytest.mark.parametrize("opcode", [3, 15])
def test_unknown_opcodes_clear_all_flags(target: Target, tcp: bool, opcode: int) -> None:
    """§3.1.4 [5]: what they mean under this opcode is not known."""
    packet = HEADER_ONLY[:2] + bytes([opcode << 3 | 1, 0]) + HEADER_ONLY[4:]
    answer = target.octets(packet, tcp=tcp)
    assert answer == b"\x12\x34" + bytes([0x80 | opcode << 3, 4]) + bytes(8)


@pytest.mark.parametrize(
    "opcode",
    [pytest.param(1, id="IQUERY"), pytest.param(2, id="STATUS"), pytest.param(6, id="DSO")],
)
def test_opcodes_of_others(target: Target, tcp: bool, opcode: int) -> None:
    """RFC 3425 §3, RFC 8490 §5.1.1 [6]: NOTIMP."""
    packet = HEADER_ONLY[:2] + bytes([opcode << 3, 0]) + HEADER_ONLY[4:]
    answer = target.octets(packet, tcp=tcp)
    assert answer[2] & 0xF8 == 0x80 | opcode << 3
    assert answer[3] & 0xF == dns.rcode.NOTIMP


def nothing_done(target: Target, opcode: int, *, tcp: bool) -> bool:
    """Whether the opcode comes back with an rcode that refuses."""
    asked = soa()
    asked.set_opcode(opcode)
    octets = target.octets(asked.to_wire(), tcp=tcp)
    refusals = (dns.rcode.NOTIMP, dns.rcode.REFUSED, dns.rcode.NOTAUTH)
    return octets[2] & 0xF8 == 0x80 | opcode << 3 and octets[3] & 0xF in refusals


def test_nobody_may_change_the_zone(target: Target, tcp: bool) -> None:
    """RFC 2136 §3 [6]: UPDATE is refused."""
    assert nothing_done(target, dns.opcode.UPDATE, tcp=tcp)


@pytest.mark.decision("NOTIFY is for secondaries: NOTIMP, and not NOERROR for nothing")
def test_nobody_may_notify(target: Target, tcp: bool) -> None:
    """RFC 1996 §3 [6]."""
    assert nothing_done(target, dns.opcode.NOTIFY, tcp=tcp)


def test_edns_versions_with_flags_and_options(target: Target, tcp: bool) -> None:
    """§8.2.2, §8.2.5, §8.2.6, §8.2.9 [11, 12, 13]: BADVERS whatever else is in it."""
    for flags in (0, 0x80, dns.flags.DO):
        asked = soa(use_edns=1, options=[dns.edns.GenericOption(100, b"")])
        asked.ednsflags = asked.ednsflags & 0xFFFF0000 | flags
        answer = target.exchange(asked.to_wire(), tcp=tcp)
        assert (answer.rcode(), answer.edns, answer.answer) == (dns.rcode.BADVERS, 0, [])
        assert answer.ednsflags & 0xFFFF & ~dns.flags.DO == 0
        assert 100 not in [each.otype for each in answer.options]


def test_several_known_options_together(target: Target, tcp: bool) -> None:
    """§8.2.10 [12, 35, 36, 38]: each is handled or ignored; the answer comes."""
    answer = target.exchange(soa(use_edns=0, options=OPTIONS).to_wire(), tcp=tcp)
    assert answer.rcode() in (dns.rcode.NOERROR, dns.rcode.BADCOOKIE)
    assert answer.edns == 0


def test_every_type_is_answered(target: Target) -> None:
    """§3.1.2, §8.1.2 [32, 61]: 1 to 127 and 256 to 270, at a name and at the apex."""
    for name in ("www.example.test", "example.test"):
        for number in (*range(1, 128), *range(256, 271)):
            if number == dns.rdatatype.OPT:
                continue
            answer = target.ask(name, dns.rdatatype.to_text(dns.rdatatype.RdataType(number)))
            assert answer.rcode() == dns.rcode.NOERROR, number


@pytest.mark.steered
@pytest.mark.parametrize("name", ["geo", "plain", "closed", "spare"])
@pytest.mark.parametrize("kind", ["SOA", "NS", "MX", "TXT", "CAA", "DS", "SRV", "TYPE65280"])
def test_steered_names_are_names(target: Target, tcp: bool, name: str, kind: str) -> None:
    """§3 [61]: what load balancers fail at: NODATA with the zone's SOA."""
    answer = target.ask(f"{name}.example.test", kind, tcp=tcp)
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
    assert negative_ttl(answer) == 60


@pytest.mark.steered
def test_an_empty_pool_has_a_defined_answer(target: Target, tcp: bool) -> None:
    """[63]: all of them, the spare ones, or NODATA: as the service says."""
    for name, due in (("open", ["192.0.2.41"]), ("spare", ["192.0.2.99"]), ("closed", [])):
        answer = target.ask(f"{name}.example.test", tcp=tcp)
        assert answer.rcode() == dns.rcode.NOERROR
        assert [rr.address for each in answer.answer for rr in each] == due


@pytest.mark.steered
def test_the_low_ttl_is_the_services_own(target: Target, tcp: bool) -> None:
    """[62]: neighbours keep theirs."""
    assert target.ask("geo.example.test", tcp=tcp).answer[0].ttl == 20
    assert target.ask("ns1.example.test", tcp=tcp).answer[0].ttl == 300
