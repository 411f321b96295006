"""A DNS server to be asked: where it listens and how to ask it. Knows nothing of what is right."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from firsthop_dns.serve.server import DnsServer
from support.waiting import DEADLINE_S

FOREIGN_DEADLINE_S = 2.0
"""A foreign server that is silent is so on purpose."""
COOKIE = 10
TC = 0x02
"""In the third octet of a message."""


@dataclass
class Target:
    """Where a server listens, and how to ask it."""

    host: str
    port: int
    server: DnsServer | None = None
    """Ours, to look into; None for a foreign one."""
    patience_s: float = field(default=DEADLINE_S)

    def exchange(self, packet: bytes, *, tcp: bool = False) -> dns.message.Message:
        """The answer to these octets, read by dnspython."""
        return dns.message.from_wire(self.octets(packet, tcp=tcp))

    def octets(self, packet: bytes, *, tcp: bool = False) -> bytes:
        """The answer as it came; raises TimeoutError for silence."""
        if tcp:
            with self.connect() as stream:
                stream.sendall(len(packet).to_bytes(2, "big") + packet)
                return receive(stream)
        with self.datagrams() as sock:
            sock.send(packet)
            return sock.recv(65535)

    def ask(
        self,
        name: str | dns.name.Name,
        kind: str = "A",
        *,
        subnet: str | None = None,
        tcp: bool = False,
        edns: bool = True,
        payload: int = 1232,
        options: Sequence[dns.edns.Option] = (),
        dnssec_ok: bool = False,
    ) -> dns.message.Message:
        """The answer to a plain question; it belongs to the question."""
        sent = list(options)
        if subnet is not None:
            address, _, length = subnet.partition("/")
            sent.append(dns.edns.ECSOption(address, int(length), 0))
        asked = dns.message.make_query(
            name,
            kind,
            use_edns=0 if edns else False,
            payload=payload,
            options=sent,
            want_dnssec=dnssec_ok,
        )
        asked.flags = 0
        answer = self.exchange(asked.to_wire(), tcp=tcp)
        assert asked.is_response(answer)
        return answer

    def whole(self, packet: bytes, *, tcp: bool = False) -> bytes:
        """What a resolver gets: as `octets`, and again over TCP what is truncated over UDP."""
        octets = self.octets(packet, tcp=tcp)
        return self.octets(packet, tcp=True) if octets[2] & TC else octets

    def resolve(
        self,
        name: str,
        kind: str = "A",
        *,
        tcp: bool = False,
        edns: bool = True,
        options: Sequence[dns.edns.Option] = (),
    ) -> dns.message.Message:
        """What a resolver gets: as `ask`, and again over TCP what is truncated over UDP."""
        answer = self.ask(name, kind, tcp=tcp, edns=edns, options=options)
        if answer.flags & dns.flags.TC:
            return self.ask(name, kind, tcp=True, edns=edns, options=options)
        return answer

    def known(self) -> list[dns.edns.Option]:
        """A cookie that this server takes, which shows our address; none if it gives none."""
        first = dns.edns.GenericOption(COOKIE, b"resolver")
        given = options_of(self.ask("www.example.test", options=[first]), COOKIE)
        return [dns.edns.GenericOption(COOKIE, each) for each in given]

    @property
    def family(self) -> socket.AddressFamily:
        """Of its address."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    def connect(self) -> socket.socket:
        """A TCP connection."""
        return socket.create_connection((self.host, self.port), timeout=self.patience_s)

    def datagrams(self) -> socket.socket:
        """A connected UDP socket: only what comes from the address that was asked is heard."""
        sock = socket.socket(self.family, socket.SOCK_DGRAM)
        sock.settimeout(self.patience_s)
        sock.connect((self.host, self.port))
        return sock


def receive(stream: socket.socket) -> bytes:
    """One framed message; empty when the other side has closed."""
    head = _exactly(stream, 2)
    return _exactly(stream, int.from_bytes(head, "big")) if head else b""


def _exactly(stream: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = stream.recv(count - len(data))
        if not more:
            return b""
        data += more
    return data


def owners(answer: dns.message.Message) -> list[str]:
    """Owner and type of every RRset of the answer section, below `example.test.`, in order."""
    return [
        f"{str(each.name).removesuffix('.example.test.')} {dns.rdatatype.to_text(each.rdtype)}"
        for each in answer.answer
    ]


def data(answer: dns.message.Message, kind: str) -> list[str]:
    """The data of all records of that type in the answer section, in presentation form, sorted."""
    wanted = dns.rdatatype.from_text(kind)
    return sorted(str(rr) for each in answer.answer if each.rdtype == wanted for rr in each)


def options_of(answer: dns.message.Message, code: int) -> list[bytes]:
    """The content of every EDNS option with this code."""
    return [each.to_wire() or b"" for each in answer.options if each.otype == code]


def is_referral(answer: dns.message.Message, cut: str) -> bool:
    """Whether it sends the asker to the servers of `cut` and claims nothing itself."""
    return (
        not answer.flags & dns.flags.AA
        and answer.rcode() == dns.rcode.NOERROR
        and answer.answer == []
        and [(str(each.name), each.rdtype) for each in answer.authority if each.rdtype != DS]
        == [(cut, dns.rdatatype.NS)]
    )


def negative_ttl(answer: dns.message.Message, apex: str = "example.test.") -> int:
    """TTL of the SOA of a negative answer, which stands alone and is authoritative."""
    (rrset,) = answer.authority
    assert (rrset.rdtype, str(rrset.name)) == (dns.rdatatype.SOA, apex)
    assert answer.flags & dns.flags.AA
    return rrset.ttl


DS = dns.rdatatype.DS
