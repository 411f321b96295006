"""The control plane and its database: away, back, migrated twice at once, used by replicas."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from firsthop.postgres.server import EmbeddedPostgres
from firsthop_controlplane.store import ledger, tables
from firsthop_controlplane.store.engine import create_engine
from firsthop_controlplane.store.migrate import MigrationError, alembic_config, migrate
from support.waiting import eventually

pytestmark = pytest.mark.database
FRA = {"id": "fra", "latitude": 50.11, "longitude": 8.68}


async def test_the_database_goes_away_and_comes_back(
    own_server: EmbeddedPostgres, start_api: Any
) -> None:
    """503 as a problem, the stream and the probers go on, and the API recovers by itself."""
    api = await start_api(url=own_server.url, poll_s=0.05, heartbeat_s=0.05)
    await api.made("/v1/regions", FRA)
    await api.made("/v1/relays", {"id": "fra-1", "region": "fra", "ipv4": "127.0.10.1"})
    prober, edge = await api.token_of("prober"), await api.token_of("edge")
    number = (await api.get("/v1/status")).body["number"]
    await own_server.stop()

    gone = await api.get("/v1/regions")
    assert (gone.status, gone.body["type"]) == (503, "urn:firsthop:problem:unavailable")
    assert (await api.call("POST", "/v1/regions", FRA | {"id": "x"})).status == 503
    assert (await api.get("/v1/regions", token="unknown")).status == 503, "it cannot be told"

    async def not_ready() -> bool:
        answer = await api.get("/readyz")
        return answer.status == 503 and "database" in answer.body["reasons"][0]

    await eventually(not_ready, "readyz says that the database is away")
    assert (await api.get("/healthz")).status == 200

    headers = {"Authorization": f"Bearer {edge}"}
    async with api.session.get(f"{api.url}/v1/snapshots/stream", headers=headers) as stream:
        lines = [json.loads(await stream.content.readuntil(b"\n")) for _ in range(3)]
        assert [line["kind"] for line in lines] == ["plan", "keys", "status"]
        now = datetime.now(UTC).isoformat()
        view = {"relay": "fra-1", "verdict": "up", "since": now, "checked_at": now}
        report = {"prober": "a", "vantage": "a", "sent_at": now, "views": [view]}
        told = await api.call("POST", "/v1/probes/results", report, token=prober)
        assert told.status == 204

        async def turned() -> bool:
            status = (await api.get("/v1/status")).body
            return status["number"] > number and status["relays"]["fra-1"]["verdict"] == "up"

        await eventually(turned, "the verdict turns without the database")

    await own_server.start()

    async def back() -> bool:
        return (await api.get("/v1/regions")).status == 200

    await eventually(back, "the API recovers")
    assert (await api.patch("/v1/regions/fra", {"weight": 1})).status == 200
    await eventually(lambda: _is_ready(api), "readyz recovers")


async def _is_ready(api: Any) -> bool:
    return bool((await api.get("/readyz")).status == 200)


async def test_many_migrate_at_once(own_server: EmbeddedPostgres) -> None:
    """Five processes' worth at once, and again: one schema, one store."""
    heads = await asyncio.gather(*(migrate(own_server.url) for _ in range(5)))
    assert set(heads) == {await migrate(own_server.url)}
    engine = create_engine(own_server.url, application="test", statement_timeout_s=5)
    async with engine.connect() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM store"))).scalar_one() == 1
        timeouts = [
            (await connection.execute(text(f"SHOW {name}"))).scalar_one()
            for name in ("lock_timeout", "statement_timeout")
        ]
        assert timeouts == ["5s", "5s"]
    await engine.dispose()


async def test_the_migrations_make_what_the_models_say(database_url: str) -> None:
    """Alembic finds no difference between the migrated database and the typed models."""
    assert ledger
    engine = create_engine(database_url, application="test", statement_timeout_s=10)

    def difference(connection: Connection) -> Any:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, tables.Base.metadata)

    async with engine.connect() as connection:
        assert await connection.run_sync(difference) == []
    await engine.dispose()


async def test_replicas_serve_one_store(start_api: Any) -> None:
    """What one changes, the other serves; a race between them has one winner."""
    one, two = await start_api(), await start_api()
    made = await one.made("/v1/regions", FRA)
    assert (await two.get("/v1/regions/fra")).body == made.body
    answers = await asyncio.gather(
        *(
            each.call("PATCH", "/v1/regions/fra", {"weight": weight}, headers=made.etag)
            for weight, each in enumerate([one, two] * 4)
        )
    )
    assert sorted(answer.status for answer in answers) == [200] + [412] * 7


async def test_a_change_that_cannot_get_its_turn_is_told_to_try_later(
    start_api: Any, database_url: str
) -> None:
    """The lock time-out ends the wait with 503, not with a request that hangs; the log has neither
    a statement nor its values."""
    engine = create_engine(database_url, application="test", statement_timeout_s=30)
    api = await start_api()
    async with engine.begin() as connection:
        await connection.execute(
            text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": 0x6669727374686F70}
        )
        with structlog.testing.capture_logs() as logged:
            answer = await api.call("POST", "/v1/regions", FRA)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    (line,) = (each for each in logged if each["event"] == "api.unavailable")
    assert line["error"] == "LockNotAvailableError (55P03)"
    await engine.dispose()
    assert (await api.call("POST", "/v1/regions", FRA)).status == 201


async def test_a_store_of_the_first_schema_is_kept(
    own_server: EmbeddedPostgres, start_api: Any
) -> None:
    """Migrated with its rows; names that now have escapes are written with them."""
    engine = create_engine(own_server.url, application="test", statement_timeout_s=30)

    def first(connection: Connection) -> None:
        command.upgrade(alembic_config(connection), "0001")

    async with engine.connect() as connection:
        await connection.run_sync(first)
    async with engine.begin() as connection:
        for statement in (
            'INSERT INTO zone (apex, "primary", contact, refresh, retry, expire, minimum, ttl,'
            " name_servers, version) VALUES ('a.test.', 'ns.a.test.', 'host@a.test.', 1, 1, 1, 60,"
            " 300, '{ns.a.test.,$x.a.test.}', 1)",
            "INSERT INTO record (id, zone, owner, type, ttl, rdata, version) VALUES"
            " ('r1', 'a.test.', 'ns.a.test.', 'A', 300, '192.0.2.1', 1),"
            " ('r2', 'a.test.', '(x).a.test.', 'TXT', 60, '\"y\"', 1)",
            "INSERT INTO service (id, name, pool, ttl, ttl_min, ttl_max, answers, when_all_down,"
            " fallback, ecs, version) VALUES"
            " ('s', 's.a.test.', 'relays', 30, 1, 300, 1, 'open', '{}', true, 1)",
        ):
            await connection.execute(text(statement))
    api = await start_api(url=own_server.url)
    zone = (await api.get("/v1/zones/a.test.")).body
    assert zone["contact"] == r"host\@a.test."
    assert zone["name_servers"] == ["ns.a.test.", r"\$x.a.test."]
    assert zone["name_servers_ttl"] is None
    records = (await api.get("/v1/zones/a.test./records")).body["items"]
    assert [(each["id"], each["owner"], each["ttl"]) for each in records] == [
        ("r1", "ns.a.test.", 300),
        ("r2", r"\(x\).a.test.", 60),
    ]
    body = {"owner": "x.a.test.", "type": "TYPE65280", "rdata": r"\# 1 ff"}
    await api.made("/v1/zones/a.test./records", body)
    async with engine.begin() as connection:  # half of ttl, which ttl_max still bounds
        await connection.execute(text("UPDATE service SET ttl_min = NULL"))
        with pytest.raises(IntegrityError, match="ck_service_ttl"):
            await connection.execute(text("UPDATE service SET ttl = 301"))
    await engine.dispose()


async def test_a_newer_schema_is_refused_by_name(database_url: str) -> None:
    """After a return to an older release; the message says which schema it is."""
    engine = create_engine(database_url, application="test", statement_timeout_s=30)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await engine.dispose()
    with pytest.raises(MigrationError, match="schema 9999 is not known to this release"):
        await migrate(database_url)
