"""DNS: the name server answers one question with at least one record."""

from __future__ import annotations

from functools import partial

import dns.exception
import dns.flags
import dns.message
import dns.rcode

from firsthop_healthchecks.probes import Failed, ProbeOutcome, Unable
from firsthop_healthchecks.probes.datagram import exchange
from firsthop_healthchecks.probes.source import ANY, SourceAddresses
from firsthop_steering.feed.reports import ProbeTarget

PAYLOAD = 1232  # passes every path unfragmented


class DnsProbe:
    """Sends one query over UDP, with EDNS (RFC 6891), for the A records of `target.dns_name`.

    Id and source port are random and the question is compared, so answers cannot be forged blindly.
    """

    def __init__(self, source: SourceAddresses = ANY) -> None:
        self._source = source

    async def check(self, target: ProbeTarget) -> ProbeOutcome:
        """Passed if the answer is NOERROR with a record in its answer section."""
        if target.dns_name is None:
            return Unable("no name to query")
        query = dns.message.make_query(target.dns_name, "A", use_edns=0, payload=PAYLOAD)
        return await exchange(
            target,
            self._source,
            packet=query.to_wire(),
            judge=partial(judge, query),
        )

    async def close(self) -> None:
        """Nothing is shared."""


def judge(query: dns.message.Message, packet: bytes) -> Failed | str | None:
    """Judge `packet` as an answer to `query` (see `datagram.Judge`)."""
    try:
        answer = dns.message.from_wire(packet)
    except (dns.exception.DNSException, ValueError):
        return "answer is not DNS"
    if not query.is_response(answer):  # QR, id, opcode and question (RFC 5452 §4.2, §4.3)
        return "answer to another question"
    if answer.rcode() != dns.rcode.NOERROR:
        return Failed(f"answer is {dns.rcode.to_text(answer.rcode())}")
    if not answer.answer:
        return Failed("truncated" if answer.flags & dns.flags.TC else "answer without a record")
    return None
