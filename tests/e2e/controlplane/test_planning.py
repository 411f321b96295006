"""Demand into a real control plane with capacities, and the prices that it publishes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from firsthop.controlplane.explaining import Explainer
from firsthop_controlplane.history.guidance_log import GuidanceHistory
from firsthop_controlplane.store.engine import create_engine
from firsthop_steering.feed.snapshot import Prices
from firsthop_steering.planner.market import outcome, reliefs
from firsthop_steering.planner.problem import TransportProblem
from support.geodata import compiled_geodata
from support.waiting import eventually

pytestmark = pytest.mark.database
PLACES = {"ams": (52.37, 4.9), "fra": (50.11, 8.68), "par": (48.86, 2.35)}
NAMES = sorted(PLACES)
CAPACITY = 1000
DOCUMENT: dict[str, Any] = {
    "regions": [
        {"id": name, "latitude": latitude, "longitude": longitude}
        for name, (latitude, longitude) in PLACES.items()
    ],
    "relays": [
        {"id": f"{name}-1", "region": name, "ipv4": f"127.0.10.{n}", "capacity": CAPACITY}
        for n, name in enumerate(NAMES, start=1)
    ],
    "zones": [
        {"apex": "edge.example.", "primary": "ns.edge.example.", "contact": "h.edge.example.",
         "name_servers": ["ns.edge.example."],
         "records": [{"owner": "ns.edge.example.", "type": "A", "rdata": "192.0.2.53"}]}
    ],
    "services": [{"id": "relay", "name": "relay.edge.example.", "ttl": 5}],
}  # fmt: skip
CLIENTS = {"5.1.1.0/24": 6, "2.1.1.0/24": 2, "145.1.1.0/24": 1}
"""Hardly anybody is nearest to Amsterdam, and most of all to one region."""
EXPLAIN = "/v1/explain?service=relay&client=5.1.1.0"


def _report(answers: int = 9000, **fields: Any) -> dict[str, Any]:
    """Of the last thirty seconds."""
    now = datetime.now(UTC)
    said = {"service": "relay", "source": "dns", "region": "fra", "clients": CLIENTS}
    return {
        "since": (now - timedelta(seconds=30)).isoformat(),
        "until": now.isoformat(),
        "answers": [{**said, "answers": answers, **fields}],
    }


@pytest.fixture
def start(start_api: Any, tmp_path: Path) -> Any:
    """Starts a control plane that plans without delay."""

    async def begin(**settings: Any) -> Any:
        explainer = Explainer(None, None, compiled_geodata())
        options = {"plan_interval_s": 0.1, "plan_warm_up_s": 0.0, **settings}
        return await start_api(explain=explainer, geo=explainer.geo, **options)

    return begin


async def test_demand_and_capacity_make_prices(start: Any, database_url: str) -> None:
    """With which no region is above its limit; the next leader charges the same from the start."""
    api = await start()
    await api.made("/v1/changesets", {"document": DOCUMENT})
    secret = await api.token_of("edge")
    for _ in range(3):
        report = _report()
        assert (await api.call("POST", "/v1/demand", report, token=secret)).status == 204

    async def settled() -> Any:
        view = (await api.get("/v1/prices")).body
        return view if view["regions"] and 0 < view["worst"] <= 1.01 and view["number"] else None

    view = await eventually(settled, "a plan without overload is found")
    assert view["answers"] == 27_000
    weights = np.array([*CLIENTS.values()], dtype=np.float64)
    costs, room = await _costs(api), np.full(3, float(CAPACITY))

    def problem_of(demand: float) -> TransportProblem:
        return TransportProblem(costs, weights / weights.sum() * demand, room)

    problem = problem_of(view["demand"])
    assert outcome(problem, np.zeros(3), reliefs(NAMES)).load.max() > CAPACITY

    async def planned() -> Prices | None:
        """What is published, once it has risen far enough and is in the store."""
        told, prices = (await api.get("/v1/prices")).body, await _stored(database_url)
        if prices is None or prices.number != told["number"] or set(prices.without) != set(NAMES):
            return None
        problem = problem_of(told["demand"])  # which fades, and prices with it
        vector = np.array([prices.now.get(name, 0.0) for name in NAMES])
        load = outcome(problem, vector, reliefs(NAMES)).load
        return prices if load.max() <= problem.limits.max() * 1.02 else None

    await eventually(planned, "no region is above its limit")
    live, at = await eventually(
        lambda: _explained(api), "an answer is explained under known prices"
    )
    assert max(each["price_ms"] for each in live["candidates"]) > 0
    await api.stop()
    prices = await _stored(database_url)
    assert prices is not None
    heir = await start(plan_warm_up_s=60.0)

    async def resumed() -> bool:
        told = (await heir.get("/v1/prices")).body
        return bool(told.get("number") == prices.number)

    await eventually(resumed, "the next leader has the prices in force")
    assert (await heir.get("/v1/prices")).body["without"] == prices.without
    said = (await heir.get(f"{EXPLAIN}&at={quote(at.isoformat())}")).body
    assert said.pop("at") == {
        "time": at.isoformat(),
        "revision": 1,
        "status_known": True,
        "prices_known": True,
        "latency_known": True,
    }
    assert {**said, "status": live["status"]} == live, "as it was live, at another control plane"
    at_first = (await heir.get(f"{EXPLAIN}&at=1")).body
    assert {each["price_ms"] for each in at_first["candidates"]} == {0.0}


async def _explained(api: Any) -> tuple[dict[str, Any], datetime] | None:
    """Why a client is answered as it is, and a time when just these prices were in force."""
    before = (await api.get("/v1/prices")).body["number"]
    said, at = (await api.get(EXPLAIN)).body, datetime.now(UTC)
    return (said, at) if (await api.get("/v1/prices")).body["number"] == before > 0 else None


async def _stored(database_url: str) -> Prices | None:
    engine = create_engine(database_url, application="test", statement_timeout_s=10)
    try:
        told = await GuidanceHistory(engine).snapshot_at(Prices, datetime.now(UTC), None)
    finally:
        await engine.dispose()
    return told.snapshot


async def _costs(api: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """As explain tells them: clients × regions."""
    costs = []
    for client in CLIENTS:
        explained = await api.get(f"/v1/explain?service=relay&client={client}")
        assert explained.status == 200, explained
        rtt = {each["region"]: each["rtt_ms"] for each in explained.body["candidates"]}
        costs.append([rtt[name] for name in NAMES])
    return np.array(costs)


async def test_without_capacity_there_are_no_prices(start: Any) -> None:
    """However much is wanted."""
    api = await start()
    bare = [{**each, "capacity": None} for each in DOCUMENT["relays"]]
    await api.made("/v1/changesets", {"document": {**DOCUMENT, "relays": bare}})
    secret = await api.token_of("edge")
    assert (await api.call("POST", "/v1/demand", _report(), token=secret)).status == 204

    async def heard() -> bool:
        return bool((await api.get("/v1/prices")).body["answers"] == 9000)

    await eventually(heard, "the report is taken")
    view = (await api.get("/v1/prices")).body
    assert (view["number"], view["regions"]) == (0, [])


NONSENSE: list[Any] = [
    ({"answers": 0}, "answers/0/answers", "greater than or equal to 1"),
    ({"clients": {}}, "answers/0/clients", "at least 1"),
    ({"clients": {"5.1.0.0/16": 1}}, "answers/0/clients", "/24"),
    ({"clients": {"somewhere": 1}}, "answers/0/clients", "/24"),
    ({"clients": {"5.1.1.0/24": 0}}, "answers/0/clients/5.1.1.0/24", "greater than"),
    ({"source": "rumour"}, "answers/0/source", "dns"),
]


async def test_nonsense_is_refused_by_name(start: Any) -> None:
    """And counts for nothing."""
    api = await start()
    await api.made("/v1/changesets", {"document": DOCUMENT})
    secret = await api.token_of("edge")
    for fields, field, rule in NONSENSE:
        answer = await api.call("POST", "/v1/demand", _report(**fields), token=secret)
        assert answer.status == 422, fields
        assert rule in answer.rules[field], fields
    late = _report() | {"until": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    answer = await api.call("POST", "/v1/demand", late, token=secret)
    assert (answer.status, list(answer.rules)) == (422, ["until"])
    assert (await api.get("/v1/prices")).body["answers"] == 0
    viewer = await api.token_of("viewer")
    assert (await api.call("POST", "/v1/demand", _report(), token=viewer)).status == 403
