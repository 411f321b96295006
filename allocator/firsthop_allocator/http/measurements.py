"""Browser measurements over HTTP: tickets, the script that uses them, and their samples.

The allocator keeps the report rate of each ticket and prefix, and samples until they are passed
on. The client's address is the connection's, or the one that a trusted proxy gives. A report proves
only that its sender has a ticket; false samples affect only the sender's prefix.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from importlib.resources import files
from typing import Any

from aiohttp import web

from firsthop_allocator.allocations.route import AllocationRefused
from firsthop_allocator.allocations.routing import steered_service
from firsthop_allocator.allocations.view import AllocatorView
from firsthop_allocator.errors import Problem, RequestFault, wrong
from firsthop_allocator.http.answers import refusal
from firsthop_allocator.http.callers import Subject
from firsthop_allocator.http.schema import RaceBody, SamplesBody
from firsthop_allocator.measuring.samples import SampleQueue, prefix_number
from firsthop_allocator.measuring.ticket import ENTROPY_LENGTH, refusal_of, ticket
from firsthop_steering.feed.token_bucket import TokenBuckets

RACES, SAMPLES, SNIPPET = "/v1/races", "/v1/samples", "/v1/race.js"
REPORT_EVERY_S = 60.0
"""Seconds between two reports of one ticket."""
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
        self._tickets = TokenBuckets(burst=1, refill_s=REPORT_EVERY_S, max_keys=MAX_KEPT)
        self._prefixes = TokenBuckets(
            burst=PREFIX_AT_ONCE, refill_s=PREFIX_EVERY_S, max_keys=MAX_KEPT
        )

    def ticket(self, view: AllocatorView, body: RaceBody, subject: Subject) -> dict[str, Any]:
        """A ticket for a client as JSON. Raises Problem 422 or 503 if there is none."""
        service = steered_service(view, body.service)
        if isinstance(service, AllocationRefused):
            raise refusal(service)
        client = view.steering.topology.client(subject.address)
        entropy = self._entropy(ENTROPY_LENGTH)
        made = ticket(view, service, client, now=self._clock(), entropy=entropy)
        if isinstance(made, AllocationRefused):
            raise refusal(made)
        return made.to_json()

    def take(self, view: AllocatorView, body: SamplesBody, subject: Subject) -> dict[str, Any]:
        """Accept all samples of a report, or none; returns the answer. Raises Problem 403, 422 or
        429."""
        now = self._clock()
        fault = refusal_of(view, body.username_fragment, body.password, now)
        if fault is not None:
            raise wrong(403, RequestFault(*fault))
        strange = [
            RequestFault(f"samples/{index}/relay", "names no relay that can be measured")
            for index, each in enumerate(body.samples)
            if each.relay not in view.tables.relays
        ]
        if strange:
            raise wrong(422, *strange)
        prefix, at = prefix_number(subject.address), now.timestamp()
        wait_s = self._tickets.wait_s(body.username_fragment, at)
        wait_s = wait_s or self._prefixes.wait_s(prefix, at)
        if wait_s:
            self._queue.results["limited"] += len(body.samples)
            detail = "too many reports with this ticket, or from this network"
            raise Problem(429, detail, headers={"Retry-After": str(wait_s)})
        self._queue.put(prefix, [(each.relay, each.rtt_ms) for each in body.samples], at)
        return {"samples": len(body.samples)}


def snippet() -> web.Response:
    """`race.js`, for pages of any origin that the allocator allows."""
    body = files(__package__).joinpath("race.js").read_bytes()
    return web.Response(
        body=body, content_type="text/javascript", charset="utf-8", headers=_SNIPPET_HEADERS
    )
