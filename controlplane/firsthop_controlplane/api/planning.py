"""Endpoints of the planner: receive demand from edges, return prices; on the leader."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from aiohttp import web

from firsthop_controlplane.access.tokens import VIEWERS
from firsthop_controlplane.api.operations import Calling, Operation, answer
from firsthop_controlplane.errors import BrokenRule, invalid
from firsthop_steering.feed.demand import DemandReport
from firsthop_steering.plan.model import Slug
from firsthop_steering.rtt.samples import parse_prefix
from firsthop_zones.model import Model

EDGES = frozenset({"edge"})


async def _demand(calling: Calling) -> web.Response:
    """Receive the number of answers that an edge gave since its last report, by client prefix."""
    deps, report = calling.deps, calling.read(DemandReport)
    off_s = (report.until - deps.now()).total_seconds()
    if abs(off_s) > deps.settings.clock_skew_s:
        rule = f"is {off_s:+.0f} s off our clock; {deps.settings.clock_skew_s:.0f} s are allowed"
        raise invalid([BrokenRule("until", rule)])
    for index, each in enumerate(report.answers):
        for text in each.clients:
            try:
                parse_prefix(text)
            except ValueError as error:
                raise invalid([BrokenRule(f"answers/{index}/clients", str(error))]) from None
    assert calling.principal is not None
    await deps.planning.take(report, token=calling.principal.id)
    return web.Response(status=204)


class PricedRegion(Model):
    """One region's price, load and capacity."""

    region: Slug
    price_ms: float
    """The price in force while no other region is lost."""
    load: float
    """Sessions that the plan assigns to it."""
    capacity: float | None
    """In sessions; null: not configured, so it is not limited."""
    factor: float
    """Sessions per client of this region, relative to the mean (`scale`)."""


class PricesView(Model):
    """Prices and their reasons; empty if no capacity is configured, or demand is not known."""

    number: int
    published_at: datetime | None
    answers: int
    """Answers that edges have reported to this leader."""
    demand: float
    """In concurrent sessions."""
    scale: float
    """Sessions per answer, estimated from the session counts of agents."""
    worst: float
    """The greatest ratio of planned load to limit; above 1, the demand exceeds the capacity."""
    regions: tuple[PricedRegion, ...]
    without: dict[Slug, dict[Slug, float]]
    """By lost region: the prices in force while it is lost."""


async def _prices(calling: Calling) -> web.Response:
    prices, planner = calling.deps.planning.published, calling.deps.planning.planner
    view = planner.rounds.view
    regions = (
        ()
        if view is None
        else tuple(
            PricedRegion(
                region=name,
                price_ms=planner.rounds.now.get(name, 0.0),
                load=round(load, 2),
                capacity=view.capacity[name] if np.isfinite(view.capacity[name]) else None,
                factor=round(view.factors.get(name, 1.0), 3),
            )
            for name, load in view.load.items()
        )
    )
    return answer(
        PricesView(
            number=prices.number if prices else 0,
            published_at=prices.created_at if prices else None,
            answers=planner.demand.answers,
            demand=round(view.demand, 2) if view else 0.0,
            scale=view.scale if view else 1.0,
            worst=round(view.worst, 4) if view else 0.0,
            regions=regions,
            without=dict(prices.without) if prices else {},
        )
    )


OPERATIONS = (
    Operation(
        method="POST", path="/v1/demand", name="demand", tag="machines", roles=EDGES,
        summary="Receive the demand that an edge served", call=_demand, body=DemandReport,
        status=204, refusals=(422, 503), leader_only=True,
    ),
    Operation(
        method="GET", path="/v1/prices", name="prices", tag="steering", roles=VIEWERS,
        summary="Prices of regions, and their reasons", call=_prices, answer=PricesView,
        refusals=(503,), leader_only=True,
    ),
)  # fmt: skip
