"""Endpoints of round-trip times, on the leader: receive samples, return learned latency."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network

import numpy as np
from aiohttp import web
from pydantic import Field
from sqlalchemy import select

from firsthop_controlplane.access.tokens import OPERATORS, VIEWERS, Principal
from firsthop_controlplane.api.operations import Calling, Operation, QueryParameters, answer
from firsthop_controlplane.configuration.revisions import audit
from firsthop_controlplane.deps import Deps
from firsthop_controlplane.errors import (
    BrokenRule,
    Refused,
    TooMany,
    Unavailable,
    forbidden,
    invalid,
    malformed,
    not_found,
)
from firsthop_controlplane.learning.evidence import SampleEvidence
from firsthop_controlplane.learning.forgetting import ReportSelector, ReportsForgotten
from firsthop_controlplane.learning.intake import (
    AHEAD_S,
    BURST,
    OLDEST_S,
    SAMPLES_PER_S,
    batch_name,
)
from firsthop_controlplane.learning.memory import Memory
from firsthop_controlplane.store.ledger import TokenRow
from firsthop_geodata.prefixes import normalise
from firsthop_steering.decision.placement import Ground
from firsthop_steering.decision.topology import parse_client
from firsthop_steering.feed.exploration_targets import ExplorationTarget
from firsthop_steering.feed.measurements import Sample, SampleBatch, SamplesTaken
from firsthop_steering.feed.snapshot import KeySet, Plan
from firsthop_steering.plan.model import Slug
from firsthop_steering.rtt.estimates import SOURCES
from firsthop_steering.rtt.learned import Learned
from firsthop_steering.rtt.samples import MAX_REGIONS, Samples, prefix_of
from firsthop_zones.faults import MAX_FAULTS
from firsthop_zones.model import Model

MEASURERS = OPERATORS | {"edge", "allocator", "transceiver", "agent"}


async def _measurements(calling: Calling) -> web.Response:
    """Receive a batch of samples: all of them, or none."""
    deps, principal = calling.deps, calling.principal
    assert principal is not None
    memory, plan, keys = _memory(deps), deps.feed.plan, deps.feed.keys
    if plan is None or keys is None:
        raise Unavailable("plan and keys have not been read yet")
    batch = calling.read(SampleBatch)
    name, count = batch_name(principal.id, batch.batch), len(batch.samples)
    counts, now = memory.intake.counts, deps.now()
    if memory.intake.is_repeated(name):
        counts["repeated"] += count
        return answer(SamplesTaken(batch=batch.batch, samples=0, repeated=True))
    try:
        samples, uses = samples_of(batch, principal, plan, keys, memory, now)
    except Refused:
        counts["refused"] += count
        raise
    wait_s = memory.intake.wait_s(principal.id, count, now.timestamp())
    if wait_s > 0:
        counts["limited"] += count
        detail = f"A token may upload {SAMPLES_PER_S} samples per second, and {BURST} at once."
        raise TooMany(detail, retry_after_s=wait_s)
    counts["repeated"] += count - len(samples)
    memory.intake.take(name, samples, now.timestamp(), uses)
    return answer(SamplesTaken(batch=batch.batch, samples=len(samples), repeated=False))


def _memory(deps: Deps) -> Memory:
    memory = deps.latency.memory
    if memory is None:
        raise Unavailable("the samples of previous leaders have not been read yet")
    return memory


def samples_of(
    batch: SampleBatch,
    principal: Principal,
    plan: Plan,
    keys: KeySet,
    memory: Memory,
    now: datetime,
) -> tuple[Samples, list[str]]:
    """The samples of a batch as columns, and which tickets or sessions they use.

    Samples whose ticket or session was used before are left out. Raises Refused: 403 for a sample
    that this token may not report, 422 for other faults.
    """
    regions = {relay.id: relay.region for relay in plan.document.relays}
    present = {region.id for region in plan.document.regions}
    oldest, newest = now - timedelta(seconds=OLDEST_S), now + timedelta(seconds=AHEAD_S)
    evidence = SampleEvidence.of(principal, plan, keys)
    faults: list[BrokenRule] = []
    rows: list[tuple[int, int, int, float]] = []
    uses: dict[str, None] = {}
    for index, sample in enumerate(batch.samples):
        fault, region = _checked(sample, regions, present, oldest, newest)
        number = memory.numbers.number(region, present) if fault is None else None
        if fault is None and number is None:
            fault = BrokenRule("region", f"round trips to only {MAX_REGIONS} regions are learned")
        if fault is not None or number is None:
            assert fault is not None
            faults.append(BrokenRule(f"samples/{index}/{fault.field}", fault.rule))
            if len(faults) >= MAX_FAULTS:
                break
            continue
        prefix = prefix_of(*normalise(sample.client)[:2])
        witness = evidence.of_sample(sample, prefix)
        if isinstance(witness, str):
            raise forbidden(f"samples/{index}/{witness}.")
        if not (witness.use in uses or memory.intake.is_used(witness.use)):
            rows.append((prefix, number, witness.source, sample.rtt_ms))
        if witness.use:
            uses[witness.use] = None
    if faults:
        raise invalid(faults)
    prefixes, numbers, sources, rtt_ms = zip(*rows, strict=True) if rows else ((),) * 4
    return Samples(
        np.array(prefixes, dtype=np.uint64),
        np.array(numbers, dtype=np.int64),
        np.array(sources, dtype=np.int64),
        np.array(rtt_ms, dtype=np.float64),
    ), list(uses)


def _checked(
    sample: Sample, regions: dict[str, str], present: set[str], oldest: datetime, newest: datetime
) -> tuple[BrokenRule | None, str]:
    """The broken rule of a sample, given plan and clock, or the region that it measures."""
    if sample.relay is not None and sample.relay not in regions:
        return BrokenRule("relay", f"there is no relay {sample.relay}"), ""
    region = regions[sample.relay] if sample.relay is not None else str(sample.region)
    if region not in present:
        return BrokenRule("region", f"there is no region {region}"), ""
    if sample.at < oldest:
        return BrokenRule("at", f"is more than {OLDEST_S / 60:.0f} minutes ago"), ""
    if sample.at > newest:
        return BrokenRule("at", f"is more than {AHEAD_S:.0f} s in the future"), ""
    return None, region


async def _forget(calling: Calling) -> web.Response:
    """Remove reports, and what was learned from them."""
    deps, selector = calling.deps, calling.read(ReportSelector)
    _memory(deps)
    async with deps.revisions.session() as session, session.begin():
        if selector.token is not None:
            query = select(TokenRow.id).where(TokenRow.name == selector.token)
            token = await session.scalar(query) or selector.token
            selector = selector.model_copy(update={"token": token})
        after = selector.model_dump(mode="json", exclude_none=True)
        session.add(audit(calling.actor, "forgotten", "measurements", deps.now(), None, after))
    dropped = await deps.latency.forget(selector.mask)
    if dropped is None:
        raise Unavailable("the store cannot be written now: the next start would know them again")
    return answer(ReportsForgotten(reports=dropped))


class LatencyQuery(QueryParameters):
    """Which client's latency to return."""

    client: str = Field(min_length=1, max_length=64)
    """An address or a prefix."""


class LatencyToRegion(Model):
    """The expected round-trip time between a client and a region's relays."""

    region: Slug
    rtt_ms: float
    deviation_ms: float
    """Standard deviation of the estimate."""
    source: str
    """What the estimate is mainly based on: prefix, asn (AS × cell), country or prior."""
    samples: float
    """Samples of this prefix that agree, weighted by age: the weight halves in a day."""
    published_ms: float | None
    """The value that edges use; null if they use country and distance."""


class LatencyOfClient(Model):
    """The learned latency of a client's prefix, best region first."""

    client: str
    prefix: str
    country: str
    """ISO 3166 code; empty if not known."""
    learned_at: datetime | None
    explore: ExplorationTarget | None
    """The region that allocators may explore for this client; null if there is none."""
    regions: tuple[LatencyToRegion, ...]


async def _latency(calling: Calling) -> web.Response:
    """The learned latency of one client."""
    loop = calling.deps.latency
    _memory(calling.deps)
    text = calling.query.client
    try:
        family, key, _ = normalise(parse_client(text))
    except ValueError as error:
        raise malformed(f"client: {error}", [BrokenRule("client", str(error))]) from None
    learned, ground = loop.learned, loop.ground
    if learned is None or ground is None:
        raise not_found("nothing has been learned yet")
    number = prefix_of(family, key)
    row = loop.publication.row(number)
    known = await asyncio.to_thread(_known, learned, ground, number, row)
    network: IPv4Network | IPv6Network
    if family == 4:
        network = IPv4Network((key >> 8 << 8, 24))
    else:
        network = IPv6Network((key >> 16 << 80, 48))
    cell = int(ground.locate(np.array([number], dtype=np.uint64))[0][0])
    return answer(
        LatencyOfClient(
            client=text,
            prefix=str(network),
            country=ground.nations[ground.terrain.countries[cell]],
            learned_at=loop.learned_at,
            explore=loop.exploring.of(str(network), cell, ground, has_row=bool(row)),
            regions=tuple(sorted(known, key=lambda each: each.rtt_ms)),
        )
    )


def _known(
    learned: Learned, ground: Ground, prefix: int, published: dict[str, float]
) -> list[LatencyToRegion]:
    index = int(np.searchsorted(learned.prefixes, np.uint64(prefix)))
    is_known = index < len(learned.prefixes) and int(learned.prefixes[index]) == prefix
    counts = np.zeros(len(ground.regions))
    if is_known:
        estimates = learned.of_prefixes(slice(index, index + 1))
        here = np.flatnonzero(learned.which == index)
        counts[learned.entries.regions[here]] = learned.entries.count[here]
    else:
        cells, asns = ground.locate(np.array([prefix], dtype=np.uint64))
        estimates = learned.of_groups(cells, asns)
    return [
        LatencyToRegion(
            region=region,
            rtt_ms=round(float(estimates.rtt_ms[0, column]), 2),
            deviation_ms=round(float(estimates.deviation_ms[0, column]), 2),
            source=SOURCES[int(estimates.source[0, column])],
            samples=round(float(counts[column]), 2),
            published_ms=published.get(region),
        )
        for column, region in enumerate(ground.regions)
    ]


OPERATIONS = (
    Operation(
        method="POST", path="/v1/measurements", name="measurements", tag="machines",
        roles=MEASURERS, summary="Round-trip times that a machine measured", call=_measurements,
        body=SampleBatch, answer=SamplesTaken, refusals=(422, 429, 503),
        leader_only=True,
    ),
    Operation(
        method="POST", path="/v1/measurements/forget", name="forget_measurements", tag="steering",
        roles=OPERATORS, summary="Remove samples, and what was learned from them", call=_forget,
        body=ReportSelector, answer=ReportsForgotten, refusals=(422, 503), leader_only=True,
    ),
    Operation(
        method="GET", path="/v1/latency", name="latency", tag="steering", roles=VIEWERS,
        summary="A client's learned round-trip times", call=_latency, query=LatencyQuery,
        answer=LatencyOfClient, refusals=(404, 503), leader_only=True,
    ),
)  # fmt: skip
