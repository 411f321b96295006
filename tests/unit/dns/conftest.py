"""The sample document of the wire tests, compiled, and a way to ask it without sockets."""

from __future__ import annotations

from collections.abc import Iterator

import dns.edns
import dns.message
import pytest

from firsthop_dns.answer.client_keys import UDP4, PeerAddress
from firsthop_dns.answer.counters import DnsCounters
from firsthop_dns.answer.generation import Tables
from firsthop_dns.answer.instance import Instance
from firsthop_dns.answer.respond import respond
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.compile.table import AnswerTable
from wire.sample import compiled


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[AnswerTable, GeoTable]:
    """The compiled table and its map."""
    return compiled(tmp_path_factory.mktemp("sample"), name="sample.yaml")


@pytest.fixture
def tables(sample: tuple[AnswerTable, GeoTable]) -> Iterator[Tables]:
    """What `respond` reads, with fresh counters; at the end they must add up."""
    made = Tables(sample[0], Instance.of(DnsCounters(), {}), geo=sample[1])
    yield made
    assert_counters_add_up(made.counters)


def assert_counters_add_up(counters: DnsCounters) -> None:
    """requests = responses + drops."""
    came = counters.total("firsthop_dns_requests_total")
    said = counters.total("firsthop_dns_responses_total")
    assert came == said + counters.total("firsthop_dns_dropped_total")


class Asker:
    """A client without sockets: makes queries, reads answers with dnspython."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.peer: PeerAddress = ("127.0.0.1", 5353)
        self.transport = UDP4

    def packet(self, packet: bytes) -> bytes | None:
        """The reply to these octets."""
        return respond(packet, self.peer, self.tables, 0.0, self.transport)

    def __call__(
        self,
        name: str,
        kind: str = "A",
        *,
        subnet: str | None = None,
        edns: bool = False,
        payload: int = 1232,
        dnssec_ok: bool = False,
    ) -> dns.message.Message:
        """The answer to one question; `subnet` as `198.51.100.0/24`."""
        options = []
        if subnet is not None:
            address, _, length = subnet.partition("/")
            options.append(dns.edns.ECSOption(address, int(length), 0))
        asked = dns.message.make_query(
            name,
            kind,
            use_edns=0 if edns or options or dnssec_ok else False,
            payload=payload,
            want_dnssec=dnssec_ok,
            options=options,
        )
        reply = self.packet(asked.to_wire())
        assert reply is not None
        answer = dns.message.from_wire(reply)
        assert asked.is_response(answer)
        return answer


@pytest.fixture
def ask(tables: Tables) -> Asker:
    """Asks the sample over UDP from 127.0.0.1."""
    return Asker(tables)
