"""The leader's work on samples: taken in, saved, learned from, published.

Everything that takes long is done in a thread, one thing after another. While the database is away
samples are taken and learned from; what could not be saved is saved when it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from firsthop_controlplane.feed.feed import Feed
from firsthop_controlplane.health.health_state import Clock
from firsthop_controlplane.history.guidance_log import GuidanceLog
from firsthop_controlplane.leader.leadership import first_number
from firsthop_controlplane.learning.exploring import Exploring, open_regions, promises
from firsthop_controlplane.learning.intake import BATCHES_KEPT_S
from firsthop_controlplane.learning.memory import Memory
from firsthop_controlplane.learning.publication import Publication
from firsthop_controlplane.store import learned as store
from firsthop_controlplane.store.engine import unavailable
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.arrays import Mask
from firsthop_steering.decision.placement import Ground
from firsthop_steering.feed.snapshot import Latency, Plan, supersedes
from firsthop_steering.plan.model import Region
from firsthop_steering.planner.groups import NOBODY, Wanted
from firsthop_steering.rtt.exploration import SHARE
from firsthop_steering.rtt.learned import Learned

log = structlog.get_logger(__name__)
OBSERVE_S = 2.0
"""Samples wait so long to be taken into the ledger, together with all that come meanwhile."""
SAVE_S = 20.0
"""What a hand-over loses, at most, while the store answers; the brief allows a minute."""
LEARN_S = 30.0
REST = 4.0
"""Learning rests at least so many times as long as it took."""
LOOK_S = 60.0
"""Without new samples it is looked so often where clients may explore: demand moves."""


class LatencyLoop:
    """One replica's; does nothing while another leads."""

    def __init__(
        self,
        engine: AsyncEngine,
        feed: Feed,
        geo: GeoTable | None,
        *,
        now: Clock,
        clock: Callable[[], float],
        kept: timedelta,
        learn_s: float = LEARN_S,
        exploration_share: float = SHARE,
    ) -> None:
        """`now` is the time of day and `clock` is monotonic, in seconds. Without geo data samples
        are kept, and not learned from. `exploration_share` is of all allocations; 0: none. What
        was published is forgotten when it is older than `kept`."""
        self._engine = engine
        self.history = GuidanceLog(engine, Latency, now=now, kept=kept)
        """What was published."""
        self._feed = feed
        self._geo = geo
        self._now = now
        self._clock = clock
        self._learn_s = learn_s
        self.leads: Callable[[], bool] = lambda: False
        self.may_publish: Callable[[], bool] = lambda: False
        """Whether this replica leads, and is sure of it."""
        self.wanted: Callable[[], Wanted] = lambda: NOBODY
        """Where clients are, as far as they were heard of."""
        self._term = 0
        self._number = 0
        self._wake = asyncio.Event()
        self.memory: Memory | None = None
        """None while another leads, and until what it left is read."""
        self.ground: Ground | None = None
        self._regions: tuple[Region, ...] = ()
        self.learned: Learned | None = None
        """As of the last time."""
        self.learned_at: datetime | None = None
        self.publication = Publication()
        self.exploring = Exploring(exploration_share)
        self.saved_at: datetime | None = None
        self.save_error = ""
        """Why the last save failed; empty when it did not."""
        self._learn_at = self._save_at = self._look_at = 0.0
        self._is_new = False
        """Samples came since the last time that something was learned."""

    def lead(self, term: int) -> None:
        """Begin a term; what the leader before left is read by `run`, which may take seconds."""
        self._term, self._number = term, first_number(term)
        self.memory, self.learned = None, None
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.turn()
            except Exception as error:
                if not unavailable(error):
                    log.exception("latency.failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(OBSERVE_S, self._learn_s)):
                    await self._wake.wait()
            self._wake.clear()

    async def turn(self) -> None:
        """What there is to do now."""
        if not self.leads():
            self.memory = self.learned = None
        if not self.may_publish():
            return
        memory = self.memory
        if memory is None:
            memory = await self._begin()
        await self._observe(memory)
        if self._clock() >= self._save_at:
            self._save_at = self._clock() + SAVE_S
            await self.save()
        if self._clock() >= self._learn_at and (self._is_new or self._looks_anew()):
            started = self._clock()
            self._is_new = False
            await self._learn(memory)
            took = self._clock() - started
            self._learn_at = started + took + max(self._learn_s - took, REST * took)
            self._look_at = started + LOOK_S

    def _looks_anew(self) -> bool:
        """Whether there may be somebody to explore without that samples came."""
        due = self.exploring.share > 0 and self._clock() >= self._look_at
        return due and len(self.wanted()) > 0

    async def _begin(self) -> Memory:
        """Reads what the leader before left, and goes on from there."""
        term, memory = self._term, Memory()
        plan, guidance = self._feed.plan, self._feed.guidance
        heard = guidance.within(plan.lineage).latency if plan is not None else None
        latency = await self.history.begin(heard)
        try:
            await asyncio.to_thread(memory.restore, await store.load_parts(self._engine))
        except (ValueError, zlib.error) as error:  # begin anew rather than never
            log.error("latency.store_refused", reason=str(error))
            memory = Memory()
            memory.begin_anew()
        if latency is not None:
            present = self._feed.present("latency")
            if supersedes(latency, present):
                await self._publish(latency)
            self.publication = await asyncio.to_thread(Publication.resumed, latency)
            self.exploring.resume(latency.explore)
        else:
            self.publication = Publication()
            self.exploring = Exploring(self.exploring.share)
        if term == self._term:
            self.memory = memory
            self._learn_at = self._look_at = self._clock()
            self._save_at = self._clock() + SAVE_S
            self._is_new = len(memory.model.ledger) > 0
            log.info("latency.started", entries=len(memory.model.ledger), parts=memory.parts)
        return memory

    async def _observe(self, memory: Memory) -> None:
        at = self._now().timestamp()
        drained = memory.intake.drain(at)
        self._is_new |= len(drained.samples) > 0
        await asyncio.to_thread(memory.observe, drained, now=at, kept_s=BATCHES_KEPT_S)

    async def save(self) -> None:
        """Writes what changed since the last time, or the whole where the parts have grown long."""
        memory = self.memory
        if memory is None or not memory.is_changed or not self.may_publish():
            return
        anew = memory.is_long()
        if anew:
            parts = await asyncio.to_thread(lambda: list(memory.whole()))
        else:
            parts = [await asyncio.to_thread(memory.changes)]
        now, contents = self._now(), [content for content, _ in parts]
        try:
            written = await store.save_parts(self._engine, self._term, contents, now, anew=anew)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            if not self.save_error:
                log.warning("latency.save_failed", reason=reason)
            self.save_error = reason
            return
        if written:
            memory.saved([size for _, size in parts], anew=anew)
            self.saved_at, self.save_error = now, ""

    async def _learn(self, memory: Memory) -> None:
        """A round: everything that is known now, and a snapshot if that says something new."""
        plan = self._feed.plan
        if plan is None or self._geo is None or not plan.document.regions:
            return
        ground = await self.ground_of(plan, self._geo)
        learned = await asyncio.to_thread(memory.learn, ground)
        self.learned, self.learned_at = learned, self._now()
        prices = self._feed.guidance.within(plan.lineage).prices
        is_open = open_regions(plan, self._feed.status, prices, ground.regions)
        is_news = await asyncio.to_thread(self._round, learned, ground, self.wanted(), is_open)
        if is_news and self.may_publish() and memory is self.memory:
            self._number += 1
            latency = await asyncio.to_thread(self._made, self._number, plan.lineage)
            await self._publish(latency)
            log.info("latency.published", number=latency.number, prefixes=len(latency.prefixes))
            await self.history.note(latency)

    def _round(self, learned: Learned, ground: Ground, wanted: Wanted, is_open: Mask) -> bool:
        """Whether there is something to publish."""
        is_news, share = self.publication.round(learned, ground), self.exploring.share
        now = promises(learned, ground, self.publication, wanted, is_open, share)
        return self.exploring.round(now) or is_news

    async def ground_of(self, plan: Plan, geo: GeoTable) -> Ground:
        """What a plan's regions stand on; the last one is kept."""
        regions = plan.document.regions
        if self.ground is None or self._regions != regions:
            ground = await asyncio.to_thread(Ground.of, plan, geo)
            self.ground, self._regions = ground, regions
        return self.ground

    def _made(self, number: int, lineage: str) -> Latency:
        told = self.publication.told
        assert told is not None
        return Latency.model_construct(  # to validate so many numbers once more would take long
            number=number,
            lineage=lineage,
            created_at=self._now(),
            regions=self.publication.regions,
            ms_per_km=told.ms_per_km,
            base_ms=told.base_ms,
            scale=told.scale,
            countries=dict(told.countries),
            prefixes=self.publication.rows(),
            explore=self.exploring.telling(),
        )

    async def _publish(self, latency: Latency) -> None:
        """Sealed in a thread, for it may be many megabytes."""
        line = await asyncio.to_thread(self._feed.sealed, latency)
        self._feed.publish(latency, line)
