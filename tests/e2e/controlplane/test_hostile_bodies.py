"""One caller with a valid token does not freeze the control plane."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from firsthop_controlplane.access import call_budgets
from firsthop_controlplane.bodies.checker import MAX_INLINE
from firsthop_controlplane.configuration import revisions

pytestmark = pytest.mark.database

REGION = {"latitude": 50, "longitude": 8, "name": "n" * 200}


def document(count: int, **more: Any) -> dict[str, Any]:
    regions = [REGION | {"id": f"r-{number}"} for number in range(count)]
    return {"document": {"regions": regions}, **more}


async def test_a_large_document_is_checked_in_a_child_and_applied(api: Any) -> None:
    """What is right is in force; what is wrong has the paths of its first faults."""
    right = document(MAX_INLINE // 200)
    assert len(json.dumps(right)) > MAX_INLINE
    await api.made("/v1/changesets", right)
    assert (await api.get("/v1/regions/r-60")).status == 200
    right["document"]["regions"][60] = {"id": "r-60"}
    answer = await api.call("POST", "/v1/changesets", right)
    assert answer.status == 422
    assert [each["field"] for each in answer.body["errors"]] == [
        "document/regions/60/latitude",
        "document/regions/60/longitude",
    ]


HOSTILE = {
    "objects": lambda: b'{"document":{"regions":[' + b",".join([b"{}"] * 30_000) + b"]}}",
    "depth": lambda: b'{"document":' + b"[" * 40_000 + b"]" * 40_000 + b"}",
    "keys": lambda: b'{"document":{' + b",".join(b'"%d":1' % n for n in range(10_000)) + b"}}",
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("path", ["/v1/simulate", "/v1/changesets"])
async def test_a_hostile_document_is_refused_with_few_words(api: Any, path: str, kind: str) -> None:
    """The answer is small, and other calls are answered meanwhile."""
    asking = asyncio.ensure_future(api.call("POST", path, data=HOSTILE[kind]()))
    answered = 0
    while not asking.done():
        assert (await api.get("/healthz")).status == 200
        answered += 1
    answer = await asking
    assert answer.status in (400, 422), answer
    assert len(json.dumps(answer.body)) < 8_192
    assert answered > 1


async def test_machines_send_no_megabytes(api: Any) -> None:
    """Only documents may be large."""
    for role, scope, path in (
        ("prober", "a", "/v1/probes/results"),
        ("agent", "fra-1", "/v1/relays/fra-1/reports"),
        ("edge", None, "/v1/demand"),
    ):
        token = await api.token_of(role, scope)
        answer = await api.call("POST", path, data=b'{"x": "' + b"x" * 2**20 + b'"}', token=token)
        assert answer.status == 413, path


async def test_a_token_may_call_so_often(start_api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong bodies cost more than right calls; other tokens and open paths are not affected."""
    monkeypatch.setattr(call_budgets, "BURST", 60)
    monkeypatch.setattr(call_budgets, "REFILL_S", 60.0)
    api = await start_api()
    viewer = await api.token_of("viewer")
    body = b'{"clients":["' + b"x" * 80_000 + b'"]}'
    answers = [await api.call("POST", "/v1/simulate", data=body, token=viewer) for _ in range(4)]
    assert answers[0].status == 422
    assert answers[-1].status == 429
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert (await api.get("/v1/regions", token=viewer)).status == 429
    assert (await api.get("/v1/regions")).status == 200
    assert (await api.get("/healthz")).status == 200


async def test_an_address_may_try_so_many_tokens(
    start_api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each unknown token asks the database; known ones do not."""
    monkeypatch.setattr(call_budgets, "UNKNOWN_BURST", 5)
    monkeypatch.setattr(call_budgets, "UNKNOWN_REFILL_S", 3600.0)
    api = await start_api()
    statuses = [(await api.get("/v1/regions", token=f"fh_{n}")).status for n in range(6)]
    assert statuses == [401] * 5 + [429]
    assert (await api.get("/v1/regions")).status == 200


async def test_writers_wait_without_a_connection(
    start_api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one change holds the database, reads are served; writers wait, or hear 503."""
    monkeypatch.setattr(revisions, "MAX_WAITING", 30)
    monkeypatch.setattr(revisions, "TURN_TIMEOUT_S", 300.0)
    api = await start_api()
    entered, leave = asyncio.Event(), asyncio.Event()
    original = revisions.lock

    async def held(session: Any) -> None:
        await original(session)
        entered.set()
        await leave.wait()

    monkeypatch.setattr(revisions, "lock", held)
    bodies = [REGION | {"id": f"r-{number}"} for number in range(40)]
    writing = [asyncio.ensure_future(api.call("POST", "/v1/regions", body)) for body in bodies]
    await entered.wait()
    assert (await api.get("/v1/regions")).status == 200
    done, _ = await asyncio.wait(writing, return_when=asyncio.FIRST_COMPLETED)
    assert {each.result().status for each in done} == {503}
    assert all(each.result().headers["Retry-After"] for each in done)
    leave.set()
    statuses = [(await each).status for each in writing]
    assert statuses.count(201) == 31
    assert len((await api.get("/v1/regions?limit=100")).body["items"]) == 31
