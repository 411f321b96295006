"""The parser: what it reads, what it refuses, and that no octets at all make it raise."""

from __future__ import annotations

import random
import struct

import dns.edns
import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_dns.wire.edns import BADVERS, FORMERR, NOTAUTH, NOTIMP, Subnet
from firsthop_dns.wire.query import RESPONSE, SHORT, Dataless, Query, parse

NAME = b"\x03www\x07example\x04test\x00"
QUESTION = NAME + b"\x00\x01\x00\x01"


def message(
    question: bytes = QUESTION,
    records: bytes = b"",
    *,
    flags: int = 0x0100,
    counts: tuple[int, int, int, int] = (1, 0, 0, 0),
) -> bytes:
    """A message with these counts whatever it holds."""
    return struct.pack(">HH4H", 0xABCD, flags, *counts) + question + records


def opt(options: bytes = b"", *, payload: int = 1232, ttl: int = 0, owner: bytes = b"\0") -> bytes:
    """An OPT record."""
    return owner + struct.pack(">HHIH", 41, payload, ttl, len(options)) + options


def with_opt(record: bytes) -> bytes:
    """A good query with this record behind it."""
    return message(records=record, counts=(1, 0, 0, 1))


def ecs(content: bytes) -> bytes:
    """An ECS option of any content."""
    return struct.pack(">HH", 8, len(content)) + content


def test_a_query_is_read_whole() -> None:
    """Name lower-cased for look-up, question untouched for the echo."""
    options = [dns.edns.ECSOption("198.51.100.0", 22, 0), dns.edns.GenericOption(65001, b"x")]
    asked = dns.message.make_query(
        "wWw.ExAmPlE.test", "AAAA", payload=4096, want_dnssec=True, options=options
    )
    asked.id = 0x1234
    read = parse(asked.to_wire())
    assert isinstance(read, Query)
    assert (read.name, read.qtype, read.qclass) == (NAME, 28, 1)
    assert read.question == b"\x03wWw\x07ExAmPlE\x04test\x00\x00\x1c\x00\x01"
    assert read.identity == b"\x12\x34"
    assert read.edns is not None
    assert read.edns.payload == 4096
    assert read.edns.dnssec_ok
    assert read.edns.subnet == Subnet(1, 22, b"\xc6\x33\x64")


def test_what_is_no_query_is_dropped() -> None:
    """Answering a response or a fragment could loop for ever."""
    assert parse(b"") is SHORT
    assert parse(message()[:11]) is SHORT
    assert parse(message(flags=0x8100)) is RESPONSE
    assert parse(message(flags=0xFFFF)) is RESPONSE


@pytest.mark.parametrize("opcode", [1, 2, 3, 4, 5, 6, 15])
def test_other_opcodes_are_not_implemented(opcode: int) -> None:
    """RFC 8906 §3.1.4; OPT is kept so that the reply can have one."""
    read = parse(message(records=opt(), flags=opcode << 11, counts=(1, 0, 0, 1)))
    assert isinstance(read, Dataless)
    assert (read.rcode, read.question) == (NOTIMP, b"")
    assert read.edns is not None


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(message(b"", counts=(0, 0, 0, 0)), id="no question (RFC 9619)"),
        pytest.param(message(QUESTION * 2, counts=(2, 0, 0, 0)), id="two questions"),
        pytest.param(message(counts=(1, 1, 0, 0)), id="an answer counted"),
        pytest.param(message(records=opt(), counts=(1, 1, 0, 0)), id="OPT among the answers"),
        pytest.param(message(records=opt(), counts=(1, 0, 1, 0)), id="OPT among the authorities"),
        pytest.param(message(NAME), id="type and class missing"),
        pytest.param(message(QUESTION[:-1]), id="class cut"),
        pytest.param(message(NAME[:6]), id="name cut"),
        pytest.param(message(b"\xc0\x0c\x00\x01\x00\x01"), id="pointer in the question"),
        pytest.param(message(b"\x40" + b"a" * 64 + b"\0\0\1\0\1"), id="label of 64"),
        pytest.param(message(b"\xbf" + b"a" * 191 + b"\0\0\1\0\1"), id="label of 191"),
        pytest.param(message(b"\x01a" * 127 + b"\x01b\0\0\1\0\1"), id="name of 257"),
        pytest.param(message(b"\x01a" * 126 + b"\x02bc\0\0\1\0\1"), id="name of 256"),
        pytest.param(message() + b"x", id="octets behind the end"),
        pytest.param(message(counts=(1, 0, 0, 1)), id="additional record missing"),
        pytest.param(with_opt(opt(owner=b"\x01a\0")), id="OPT with an owner"),
        pytest.param(with_opt(opt()[:-1]), id="OPT cut"),
        pytest.param(with_opt(opt(b"\0\x0a\0\x08abc")), id="option beyond RDLEN"),
        pytest.param(with_opt(opt(b"\0\x0a\0")), id="option head cut"),
        pytest.param(with_opt(opt(b"\xfd\xe9\0\0" * 65)), id="65 options"),
        pytest.param(message(records=opt() * 2, counts=(1, 0, 0, 2)), id="two OPT"),
        pytest.param(message(records=opt() * 9, counts=(1, 0, 0, 9)), id="too many records"),
        pytest.param(
            message(records=b"\xc0\xff" + opt()[1:], counts=(1, 0, 0, 1)), id="pointer forwards"
        ),
    ],
)
def test_malformed_queries_are_format_errors(packet: bytes) -> None:
    """Checklist rows 7, 8 and 14."""
    read = parse(packet)
    assert isinstance(read, Dataless)
    assert read.rcode == FORMERR


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0\1\x18", id="short"),
        pytest.param(b"\0\3\0\0", id="unknown family"),
        pytest.param(b"\0\0\x08\0\x0a", id="family 0 with an address"),
        pytest.param(b"\0\1\x21\0\1\2\3\4\0", id="source 33 of IPv4"),
        pytest.param(b"\0\2\x81\0" + bytes(17), id="source 129 of IPv6"),
        pytest.param(b"\0\1\x18\x18\xc6\x33\x64", id="scope set"),
        pytest.param(b"\0\1\x18\0\xc6\x33", id="too few octets"),
        pytest.param(b"\0\1\x18\0\xc6\x33\x64\0", id="too many octets"),
        pytest.param(b"\0\1\x14\0\xc0\0\x1f", id="bits beyond source"),
        pytest.param(b"\0\1\0\0\0", id="an octet for nothing"),
    ],
)
def test_malformed_client_subnets_are_format_errors(content: bytes) -> None:
    """RFC 7871 §6 and §7.2.1; the question is kept for the reply, and OPT."""
    read = parse(with_opt(opt(ecs(content))))
    assert isinstance(read, Dataless)
    assert (read.rcode, read.question) == (FORMERR, QUESTION)
    assert read.edns is not None


def test_two_client_subnets_are_a_format_error() -> None:
    """Nobody could say which of them the answer is for."""
    read = parse(with_opt(opt(ecs(b"\0\1\x08\0\x0a") * 2)))
    assert isinstance(read, Dataless)
    assert read.rcode == FORMERR


@pytest.mark.parametrize(
    ("content", "subnet"),
    [
        (b"\0\1\0\0", Subnet(1, 0, b"")),
        (b"\0\0\0\0", Subnet(0, 0, b"")),
        (b"\0\1\x1b\0\xc6\x33\x64\xc0", Subnet(1, 27, b"\xc6\x33\x64\xc0")),
        (b"\0\2\x31\0\x20\x01\x0d\xb8\0\1\x80", Subnet(2, 49, b"\x20\x01\x0d\xb8\0\1\x80")),
    ],
)
def test_client_subnets_of_any_length_are_read(content: bytes, subnet: Subnet) -> None:
    """As few octets as SOURCE needs; family 0 is how dig writes +subnet=0."""
    read = parse(with_opt(opt(ecs(content))))
    assert isinstance(read, Query)
    assert read.edns is not None
    assert read.edns.subnet == subnet


def test_the_version_is_looked_at_before_the_options() -> None:
    """RFC 6891 §6.1.3: a later version may have other options."""
    read = parse(with_opt(opt(ecs(b"nonsense"), ttl=1 << 16)))
    assert isinstance(read, Dataless)
    assert read.rcode == BADVERS


def test_records_beside_opt_are_passed_over() -> None:
    """SIG(0) comes in queries too; IXFR brings the SOA it has (RFC 1995 §3)."""
    sig = b"\x03key\xc0\x0c" + struct.pack(">HHIH", 24, 255, 0, 4) + b"sign"
    read = parse(message(records=opt() + sig, counts=(1, 0, 0, 2)))
    assert isinstance(read, Query)
    ixfr = NAME + b"\x00\xfb\x00\x01"
    soa = b"\xc0\x0c" + struct.pack(">HHIH", 6, 1, 0, 2) + b"\0\0"
    assert isinstance(parse(message(ixfr, soa, counts=(1, 0, 1, 0))), Query)
    assert isinstance(parse(message(QUESTION, soa, counts=(1, 0, 1, 0))), Dataless)


ALGORITHM = b"\x0bhmac-sha256\0"
SIGNED = ALGORITHM + bytes(6) + struct.pack(">HH", 300, 4) + b"sign" + struct.pack(">HHH", 7, 0, 0)


def tsig(data: bytes = SIGNED, *, owner: bytes = b"\x03key\xc0\x0c", kind: int = 255) -> bytes:
    """A TSIG record."""
    return owner + struct.pack(">HHIH", 250, kind, 0, len(data)) + data


def test_a_signed_query_names_a_key_that_is_unknown() -> None:
    """RFC 8945 §5.2.1; the key's name may be compressed, and the reply's is not."""
    read = parse(message(records=opt() + tsig(), counts=(1, 0, 0, 2)))
    assert isinstance(read, Dataless)
    assert (read.rcode, read.edns is not None) == (NOTAUTH, True)
    assert read.tsig == (b"\x03key" + NAME, ALGORITHM, 300, 7)


@pytest.mark.parametrize(
    "records",
    [
        tsig() + opt(),  # not the last
        tsig() + tsig(),
        tsig(SIGNED[:-1]),
        tsig(SIGNED + b"x"),
        tsig(b""),
        tsig(b"\xc0\x0c" + SIGNED[len(ALGORITHM) :]),  # names in data are not compressed
        tsig(kind=1),
        tsig(owner=b"\x03key\xc0\x04"),
        tsig(owner=b"\xc0\x00"),
    ],
)
def test_a_malformed_tsig(records: bytes) -> None:
    """RFC 8945 §5.1: FORMERR."""
    count = 2 if len(records) > len(tsig()) + 8 else 1
    read = parse(message(records=records, counts=(1, 0, 0, count)))
    assert isinstance(read, Dataless)
    assert (read.rcode, read.tsig) == (FORMERR, None)


def test_the_longest_name_is_read() -> None:
    """255 octets (RFC 1035 §2.3.4), and labels of any octets (RFC 2181 §11)."""
    name = b"\x3f" + bytes(range(63)) + (b"\x3f" + b"\xff" * 63) * 2 + b"\x3d" + b"." * 61 + b"\0"
    assert len(name) == 255
    read = parse(message(name + b"\0\1\0\1"))
    assert isinstance(read, Query)
    assert read.name == name.lower()


@pytest.mark.fuzz
@given(st.binary(max_size=600))
def test_no_octets_make_it_raise(packet: bytes) -> None:
    """And whatever it read is in the packet."""
    read = parse(packet)
    if isinstance(read, Query | Dataless):
        assert read.question in packet


@pytest.mark.fuzz
@given(st.binary(max_size=80), st.tuples(*[st.integers(0, 9)] * 4), st.integers(0, 0x7FFF))
def test_no_body_makes_it_raise(body: bytes, counts: tuple[int, int, int, int], flags: int) -> None:
    """Headers that promise anything."""
    parse(message(body, flags=flags, counts=counts))


def test_dnspython_reads_what_it_reads() -> None:
    """Of 8,000 mutations of good queries, whatever is accepted is so by dnspython too."""
    draw = random.Random(20261101)
    seeds = [
        message(),
        with_opt(opt()),
        with_opt(opt(ecs(b"\0\1\x18\0\xc6\x33\x64"))),
        with_opt(opt(struct.pack(">HH", 10, 8) + b"cookie!!" + ecs(b"\0\2\x20\0\x20\x01\x0d\xb8"))),
    ]
    accepted = 0
    for _ in range(8_000):
        packet = bytearray(draw.choice(seeds))
        for _ in range(draw.randrange(1, 4)):
            packet[draw.randrange(12, len(packet))] = draw.choice((0, 1, 4, 63, 192, 255))
        read = parse(bytes(packet))
        if isinstance(read, Query):
            accepted += 1
            # Records that are not OPT may hold anything: we pass them over.
            theirs = dns.message.from_wire(bytes(packet), continue_on_error=True)
            assert theirs.question[0].name.to_wire() == read.question[:-4]
            assert theirs.question[0].rdtype == read.qtype
            if read.edns is not None and not theirs.errors:
                assert theirs.payload == read.edns.payload
    assert accepted > 400
