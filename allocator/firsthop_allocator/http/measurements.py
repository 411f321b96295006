"""Browser measurements over HTTP: tickets, the script that uses them, and their samples.

The allocator keeps the report rate of each ticket and prefix, and samples until they are passed
on. The client's address is the connection's, or the one that a trusted proxy gives. A report counts
once, for the relays of its ticket, and only from the network to which the ticket was issued.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from importlib.resources import files
from typing import Any

from aiohttp import web

from firsthop_allocator.allocations.route import AllocationRefused
from firsthop_allocator.allocations.routing import steered_service
from firsthop_allocator.allocations.state import AllocatorState
from firsthop_allocator.errors import Problem, RequestFault, wrong
from firsthop_allocator.http.answers import refusal
from firsthop_allocator.http.callers import RequestClient
from firsthop_allocator.http.schema import RaceBody, SamplesBody
from firsthop_allocator.measuring.samples import SampleQueue
from firsthop_allocator.measuring.ticket import ENTROPY_LENGTH, LIFETIME, prefix_number, ticket
from firsthop_ice.ufrag import EXPIRY_UNIT
from firsthop_steering.feed.ticket_proof import TicketClaim, not_named, read_proof
from firsthop_steering.feed.token_bucket import TokenBuckets

RACES, SAMPLES, RACE_MODULE = "/v1/races", "/v1/samples", "/v1/race.js"
KEPT_S = (LIFETIME + EXPIRY_UNIT).total_seconds()
"""Seconds for which a used ticket is remembered, which is until it has expired."""
PREFIX_AT_ONCE, PREFIX_EVERY_S = 30, 2.0
"""Reports of one /24 or /48, which may be a carrier's NAT: 30 at once, then one every 2 s."""
MAX_KEPT = 20_000
"""Largest number of tickets, and of prefixes, whose report rates are kept; 4 MB."""
_SNIPPET_HEADERS = {"Cache-Control": "max-age=3600", "X-Content-Type-Options": "nosniff"}


class Racing:
    """Issues tickets, and accepts the samples measured with them."""

    def __init__(
        self,
        clock: Callable[[], datetime],
        entropy: Callable[[int], bytes],
        queue: SampleQueue,
    ) -> None:
        self._clock = clock
        self._entropy = entropy
        self._queue = queue
        self._tickets = TokenBuckets(burst=1, refill_s=KEPT_S, max_keys=MAX_KEPT)
        self._prefixes = TokenBuckets(
            burst=PREFIX_AT_ONCE, refill_s=PREFIX_EVERY_S, max_keys=MAX_KEPT
        )

    def ticket(
        self, state: AllocatorState, body: RaceBody, subject: RequestClient
    ) -> dict[str, Any]:
        """A ticket for a client as JSON. Raises Problem 422 or 503 if there is none."""
        service = steered_service(state, body.service)
        if isinstance(service, AllocationRefused):
            raise refusal(service)
        entropy = self._entropy(ENTROPY_LENGTH)
        made = ticket(state, service, subject.address, now=self._clock(), entropy=entropy)
        if isinstance(made, AllocationRefused):
            raise refusal(made)
        return made.to_json()

    def take(
        self, state: AllocatorState, body: SamplesBody, subject: RequestClient
    ) -> dict[str, Any]:
        """Accept all samples of a report, or none; returns the answer.

        Raises Problem 403 or 429.
        """
        now, prefix = self._clock(), prefix_number(subject.address)
        claim = _claimed(state, body, prefix, now)
        at = now.timestamp()
        # The prefix first: a report that is refused for its network does not use up its ticket.
        wait_s, detail = self._prefixes.wait_s(prefix, at), "this network sends too many reports"
        if not wait_s:
            wait_s, detail = self._tickets.wait_s(claim.nonce, at), "this ticket was used already"
        if wait_s:
            self._queue.results["limited"] += len(body.samples)
            raise Problem(429, detail, headers={"Retry-After": str(wait_s)})
        measured = [(each.relay, each.rtt_ms) for each in body.samples]
        self._queue.put(prefix, measured, at, body.proof)
        return {"samples": len(body.samples)}


def _claimed(state: AllocatorState, body: SamplesBody, prefix: int, now: datetime) -> TicketClaim:
    """What the ticket of a report from `prefix` permits. Raises Problem 403."""
    claim = read_proof(body.proof, state.keys.routes)
    if claim is None:
        raise wrong(403, RequestFault("proof", "belongs to no ticket of this deployment"))
    if now >= claim.expires_at:
        raise wrong(403, RequestFault("proof", "has expired"))
    if prefix != claim.prefix:
        raise wrong(403, RequestFault("proof", "was issued to a client of another network"))
    strange = not_named(claim, [each.relay for each in body.samples])
    if strange:
        rule = "is not a relay of this ticket"
        raise wrong(403, *(RequestFault(f"samples/{each}/relay", rule) for each in strange))
    return claim


def snippet() -> web.Response:
    """`race.js`, for pages of any origin that the allocator allows."""
    body = files(__package__).joinpath("race.js").read_bytes()
    return web.Response(
        body=body, content_type="text/javascript", charset="utf-8", headers=_SNIPPET_HEADERS
    )
