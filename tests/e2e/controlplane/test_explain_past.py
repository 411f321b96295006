"""Why a client was answered as it was: the plan of then, and the relays as they stood."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from firsthop.controlplane.explaining import Explainer
from firsthop_controlplane.configuration.revisions import open_session
from firsthop_controlplane.health.relay_history import forget
from firsthop_controlplane.store.engine import create_engine
from support.geodata import compiled_geodata
from support.placed import document_of
from support.waiting import eventually

pytestmark = pytest.mark.database

PLACES = {"fra": (50.1, 8.7), "iad": (39.0, -77.5)}
DOCUMENT = document_of(PLACES)
EXPLAIN = "/v1/explain?service=relay&client=91.0.0.1"


def _now() -> datetime:
    return datetime.now(UTC)


async def _explained(api: Any, at: datetime | int | None = None) -> dict[str, Any]:
    text = at.isoformat() if isinstance(at, datetime) else at
    answer = await api.get(EXPLAIN if at is None else f"{EXPLAIN}&at={quote(str(text))}")
    assert answer.status == 200, answer
    return dict(answer.body)


async def _rows(database_url: str) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM relay_past"))
    finally:
        await connection.close()


async def _guidance_rows(database_url: str, rows: int) -> bool:
    connection = await asyncpg.connect(database_url)
    try:
        return bool(await connection.fetchval("SELECT count(*) FROM guidance_past") == rows)
    finally:
        await connection.close()


async def test_a_past_answer_is_explained(
    start_api: Any, database_url: str, tmp_path: Path
) -> None:
    """By plan and status of then, at another control plane too; what is not known is said."""
    explainer = Explainer(None, None, compiled_geodata())
    api = await start_api(explain=explainer, geo=explainer.geo)
    before = _now()
    await api.made("/v1/changesets", {"document": DOCUMENT})
    token = await api.token_of("agent", "fra-1")

    async def written(rows: int) -> datetime:
        async def there() -> bool:
            return await _rows(database_url) == rows

        await eventually(there, f"{rows} rows are written")
        return _now()

    await eventually(lambda: _guidance_rows(database_url, 2), "that nothing is charged or learned")
    well = await written(2)
    report = {"sequence": 1, "sent_at": _now().isoformat(), "crashed": True}
    said = await api.call("POST", "/v1/relays/fra-1/reports", report, token=token)
    assert said.status < 300, said
    crashed = await written(3)
    await api.made("/v1/changesets", {"document": DOCUMENT | {"relays": []}, "force": True})
    empty = await written(5)

    async def check(api: Any) -> None:
        assert (await _explained(api))["outcome"] == "closed"
        then = await _explained(api, well)
        assert (then["region"], then["plan"]) == ("fra", 1)
        assert then["at"] == {
            "time": well.isoformat(),
            "revision": 1,
            "status_known": True,
            "prices_known": True,
            "latency_known": True,
        }
        later = await _explained(api, crashed)
        assert (later["region"], later["plan"]) == ("iad", 1)
        assert later["status"] > then["status"]
        words = {each["region"]: each["endpoints"] for each in later["candidates"]}
        assert words["fra"]["fra-1"].startswith("down, crashed")
        assert (await _explained(api, 1))["plan"] == 1
        assert (await _explained(api, empty))["plan"] == 2

    await check(api)
    many = await asyncio.gather(*(_explained(api, crashed) for _ in range(40)))
    assert all(each == many[0] for each in many), "more at once than the database is asked at once"
    await api.stop()
    other = await start_api(explain=explainer, geo=explainer.geo)
    await check(other)
    assert await _rows(database_url) == 5, "who leads next writes nothing again"

    for at, status, rule in (
        (before.isoformat(), 404, "no revision as old as"),
        ("99", 404, "no revision 99"),
        ((_now() + timedelta(hours=1)).isoformat(), 400, "is in the future"),
        ("2026-11-24T12:00:00", 400, "must be a revision's number, or a time"),
        ("yesterday", 400, "must be a revision's number, or a time"),
    ):
        refused = await other.get(f"{EXPLAIN}&at={quote(at)}")
        assert refused.status == status, refused
        assert rule in refused.body["detail"]
    await other.stop()

    short = await start_api(explain=explainer, past_kept_days=0.0)
    unknown = await _explained(short, crashed)
    assert (unknown["status"], unknown["at"]["status_known"]) == ("unknown", False)
    assert unknown["region"] == "fra", "not by what relays are now, nor by what they were later"
    assert {word for each in unknown["candidates"] for word in each["endpoints"].values()} == {
        "unknown"
    }


async def test_other_geo_data_of_edges_are_said(start_api: Any) -> None:
    """By explain and simulate, with how many edges answer by which; none while all agree."""
    explainer = Explainer(None, None, compiled_geodata())
    api = await start_api(explain=explainer, geo=explainer.geo)
    await api.made("/v1/changesets", {"document": DOCUMENT})
    token = (await api.made("/v1/tokens", {"name": "e", "role": "edge"})).body["secret"]
    headers, url = {"Authorization": f"Bearer {token}"}, f"{api.url}/v1/snapshots/stream"
    same, other = explainer.geo.digest, "ab" * 32
    async with api.session.get(url, params={"geodata": same}, headers=headers):
        said = (await api.get(EXPLAIN)).body["geodata"]
        assert said == {"digest": same, "edges": {same: 1}, "warning": ""}
        async with api.session.get(url, params={"geodata": other}, headers=headers):
            said = (await api.get(EXPLAIN)).body["geodata"]
            assert said["edges"] == {same: 1, other: 1}
            assert said["warning"].startswith("1 of 2 edges here have other geo data")
            simulated = await api.call("POST", "/v1/simulate", {})
            assert simulated.body["geodata"] == said


async def test_what_would_put_a_client_elsewhere(start_api: Any, tmp_path: Path) -> None:
    """The bias that is told moves the client; a region of no such pool is refused."""
    api = await start_api(explain=Explainer(None, None, compiled_geodata()))
    await api.made("/v1/changesets", {"document": DOCUMENT})
    said = (await api.get(f"{EXPLAIN}&want=iad")).body
    (change,) = said["want"]["changes"]
    assert (said["region"], said["want"]["enough"]) == ("fra", True)
    assert (change["object"], change["field"], change["value"]) == ("regions/iad", "bias_ms", 0)
    tag = (await api.get("/v1/regions/iad")).etag
    path, body = "/v1/regions/iad?force=true", {change["field"]: change["needed"]}
    assert (await api.call("PATCH", path, body, headers=tag)).status == 200
    assert (await api.get(f"{EXPLAIN}&want=iad")).body["want"]["changes"] == []
    assert (await api.get(EXPLAIN)).body["region"] == "iad"
    refused = await api.get(f"{EXPLAIN}&want=nope")
    assert (refused.status, refused.rules) == (
        400,
        {"want": "names no region of the pool of relay"},
    )


async def test_what_is_overtaken_is_forgotten(database_url: str) -> None:
    """Of rows before a time the last one of each relay stays, as it stood then."""
    engine = create_engine(database_url, application="test", statement_timeout_s=10)
    start = datetime(2026, 11, 1, tzinfo=UTC)
    connection = await asyncpg.connect(database_url)
    for relay, hours in (("a", (0, 1, 2, 30)), ("b", (1,)), ("c", (40,))):
        for hour in hours:
            await connection.execute(
                "INSERT INTO relay_past (relay, at, number, status) VALUES ($1, $2, $3, '{}')",
                relay,
                start + timedelta(hours=hour),
                hour,
            )
    async with open_session(engine) as session, session.begin():
        await forget(session, start + timedelta(hours=24))
    rows = await connection.fetch("SELECT relay, number FROM relay_past ORDER BY relay, number")
    assert [tuple(row) for row in rows] == [("a", 2), ("a", 30), ("b", 1), ("c", 40)]
    await connection.close()
    await asyncio.wait_for(engine.dispose(), 60)
