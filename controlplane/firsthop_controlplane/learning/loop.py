"""The leader's loop over samples: observe, save, learn, publish latency.

Slow work is done in a thread, one step after another. While the database is unreachable, samples
are still learned from, and saved later.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from firsthop_controlplane.feed.feed import Feed
from firsthop_controlplane.history.guidance_log import GuidanceLog
from firsthop_controlplane.leader.publisher import Publisher
from firsthop_controlplane.leader.replica import ReplicaLeadership
from firsthop_controlplane.learning.exploring import Exploring, exploration_targets, open_regions
from firsthop_controlplane.learning.intake import BATCHES_KEPT_S
from firsthop_controlplane.learning.memory import Memory
from firsthop_controlplane.learning.publication import Publication
from firsthop_controlplane.store import learned as store
from firsthop_controlplane.store.engine import failure, unavailable
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.arrays import Mask
from firsthop_steering.decision.placement import Ground
from firsthop_steering.feed.snapshot import Latency, Plan
from firsthop_steering.plan.model import Region
from firsthop_steering.planner.groups import Wanted
from firsthop_steering.rtt.exploration import SHARE
from firsthop_steering.rtt.learned import Learned
from firsthop_steering.rtt.ledger import LedgerRows

log = structlog.get_logger(__name__)
OBSERVE_S = 2.0
"""Seconds for which samples wait, so that many are added to the ledger together."""
SAVE_S = 20.0
"""Seconds between two saves: a hand-over loses at most these samples, while the store works."""
LEARN_S = 30.0
REST = 4.0
"""Shortest pause after learning, as a multiple of the time that the learning took."""
EXPLORE_S = 60.0
"""Exploration targets are renewed this often even without new samples, because demand moves."""


class LatencyLoop:
    """The loop of one replica; idle while another leads."""

    def __init__(
        self,
        engine: AsyncEngine,
        feed: Feed,
        geo: GeoTable | None,
        leadership: ReplicaLeadership,
        wanted: Callable[[], Wanted],
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        kept: timedelta,
        learn_s: float = LEARN_S,
        exploration_share: float = SHARE,
    ) -> None:
        """`wanted` returns where clients are. `now` is the time of day; `clock` is monotonic.

        Without geo data, samples are kept but not learned from. `exploration_share` is the share of
        all allocations that may explore; 0: none. The history of publications is kept for `kept`.
        """
        self._engine = engine
        self.history = GuidanceLog(engine, Latency, now=now, kept=kept)
        """The log of published latency."""
        self._feed = feed
        self._publisher = Publisher(feed, leadership)
        self._geo = geo
        self._now = now
        self._clock = clock
        self._learn_s = learn_s
        self._wanted = wanted
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        """Held while memory and publication change."""
        self.memory: Memory | None = None
        """None while another replica leads, and until the previous leader's state is read."""
        self.ground: Ground | None = None
        self._regions: tuple[Region, ...] = ()
        self.learned: Learned | None = None
        """The result of the last round."""
        self.learned_at: datetime | None = None
        self.publication = Publication()
        self.exploring = Exploring(exploration_share)
        self.save_error = ""
        """The reason why the last save failed; empty if it succeeded."""
        self._learn_at = self._save_at = self._explore_at = 0.0
        self._is_new = False
        """Whether samples were received since the last round."""

    def lead(self, term: int) -> None:
        """Begin a term; `run` reads the previous leader's state, which may take seconds."""
        self._publisher.begin(term)
        self.memory, self.learned = None, None
        self._wake.set()

    async def run(self) -> None:
        """Run turns until cancelled."""
        while True:
            try:
                async with self._lock:
                    await self.turn()
            except Exception as error:
                if not unavailable(error):
                    log.exception("latency.failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(OBSERVE_S, self._learn_s)):
                    await self._wake.wait()
            self._wake.clear()

    async def turn(self) -> None:
        """Do the steps that are due now."""
        if not self._publisher.leads:
            self.memory = self.learned = None
        if not self._publisher.may_publish():
            return
        memory = self.memory
        if memory is None:
            memory = await self._begin()
        await self._observe(memory)
        if self._clock() >= self._save_at:
            self._save_at = self._clock() + SAVE_S
            await self.save()
        if self._clock() >= self._learn_at and (self._is_new or self._explore_due()):
            started = self._clock()
            self._is_new = False
            await self._learn(memory)
            took = self._clock() - started
            self._learn_at = started + took + max(self._learn_s - took, REST * took)
            self._explore_at = started + EXPLORE_S

    def _explore_due(self) -> bool:
        """Whether exploration targets must be renewed even without new samples."""
        due = self.exploring.share > 0 and self._clock() >= self._explore_at
        return due and len(self._wanted()) > 0

    async def _begin(self) -> Memory:
        """Read the previous leader's state, and continue from it."""
        term, memory = self._publisher.term, Memory()
        plan, guidance = self._feed.plan, self._feed.guidance
        received = guidance.within(plan.lineage).latency if plan is not None else None
        latency = await self.history.begin(received)
        try:
            await asyncio.to_thread(memory.restore, await store.load_parts(self._engine))
        except (ValueError, zlib.error) as error:  # better to start from nothing than not at all
            log.error("latency.store_refused", reason=str(error))
            memory = Memory()
            memory.start_over()
        if latency is not None:
            await self._publisher.restore(latency)
            self.publication = await asyncio.to_thread(Publication.resumed, latency)
            self.exploring.resume(latency.explore)
        else:
            self.publication = Publication()
            self.exploring = Exploring(self.exploring.share)
        if term == self._publisher.term:
            self.memory = memory
            self._learn_at = self._explore_at = self._clock()
            self._save_at = self._clock() + SAVE_S
            self._is_new = len(memory.model.ledger) > 0
            log.info("latency.started", entries=len(memory.model.ledger), parts=memory.parts)
        return memory

    async def _observe(self, memory: Memory) -> None:
        at = self._now().timestamp()
        drained = memory.intake.drain(at)
        self._is_new |= len(drained.samples) > 0
        await asyncio.to_thread(memory.observe, drained, now=at, kept_s=BATCHES_KEPT_S)

    async def forget(self, select: Callable[[LedgerRows], Mask]) -> int | None:
        """Remove selected reports and all that was learned from them; returns their number.

        Returns None if they could not be removed from the store; they are as soon as it can be
        written. Latency is learned again at once, and the order of regions of the prefixes that
        were reported starts anew.
        """
        async with self._lock:
            memory = self.memory
            if memory is None or not self._publisher.may_publish():
                return None
            await self._observe(memory)
            rows = memory.model.ledger.rows()
            which = await asyncio.to_thread(select, rows)
            dropped = await asyncio.to_thread(memory.forget, which)
            self.publication.start_over(np.unique(rows.prefixes[which]))
            await self.save()
            self._learn_at, self._is_new = self._clock(), True
        self._wake.set()
        log.info("measurements.forgotten", reports=dropped)
        return None if self.save_error else dropped

    async def save(self) -> None:
        """Write what changed since the last save, or everything if the parts are too long."""
        memory = self.memory
        if memory is None or not memory.is_changed or not self._publisher.may_publish():
            return
        anew = memory.is_long()
        if anew:
            parts = await asyncio.to_thread(lambda: list(memory.whole()))
        else:
            parts = [await asyncio.to_thread(memory.changes)]
        now, contents = self._now(), [content for content, _ in parts]
        try:
            written = await store.save_parts(
                self._engine, self._publisher.term, contents, now, anew=anew
            )
        except Exception as error:
            reason = failure(error)
            if not self.save_error:
                log.warning("latency.save_failed", reason=reason)
            self.save_error = reason
            return
        if written:
            memory.saved([size for _, size in parts], anew=anew)
            self.save_error = ""

    async def _learn(self, memory: Memory) -> None:
        """Run one round: learn from all samples, and publish latency if it changed."""
        plan = self._feed.plan
        if plan is None or self._geo is None or not plan.document.regions:
            return
        ground = await self.ground_of(plan, self._geo)
        learned = await asyncio.to_thread(memory.learn, ground)
        self.learned, self.learned_at = learned, self._now()
        prices = self._feed.guidance.within(plan.lineage).prices
        is_open = open_regions(plan, self._feed.status, prices, ground.regions)
        await asyncio.to_thread(self._round, learned, ground, self._wanted(), is_open)
        if self.publication.is_due and memory is self.memory:
            await self._publish(plan.lineage)

    async def _publish(self, lineage: str) -> None:
        """Publish latency; what could not be published stays due for the next round."""
        publication, number = self.publication, self._publisher.next_number
        latency = await asyncio.to_thread(self._snapshot, number, lineage)
        if await self._publisher.publish_large(latency):
            publication.is_due = False
            log.info("latency.published", number=number, prefixes=len(latency.prefixes))
            await self.history.note(latency)
        else:
            self._is_new = True

    def _round(self, learned: Learned, ground: Ground, wanted: Wanted, is_open: Mask) -> None:
        """Compute what to publish."""
        publication, share = self.publication, self.exploring.share
        publication.round(learned, ground)
        targets = exploration_targets(learned, ground, publication, wanted, is_open, share)
        publication.is_due |= self.exploring.round(targets)

    async def ground_of(self, plan: Plan, geo: GeoTable) -> Ground:
        """The locations of a plan's regions and of clients' cells; cached for the last regions."""
        regions = plan.document.regions
        if self.ground is None or self._regions != regions:
            ground = await asyncio.to_thread(Ground.of, plan, geo)
            self.ground, self._regions = ground, regions
        return self.ground

    def _snapshot(self, number: int, lineage: str) -> Latency:
        shared = self.publication.shared
        assert shared is not None
        return Latency.model_construct(  # validating this many numbers again would take long
            number=number,
            lineage=lineage,
            created_at=self._now(),
            regions=self.publication.regions,
            ms_per_km=shared.ms_per_km,
            base_ms=shared.base_ms,
            scale=shared.scale,
            countries=dict(shared.countries),
            prefixes=self.publication.rows(),
            explore=self.exploring.publish(),
        )
