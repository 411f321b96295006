"""Transceivers register themselves at a real control plane, over HTTP."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firsthop_controlplane import wiring
from firsthop_controlplane.configuration.change_impact import ChangeImpact
from firsthop_controlplane.configuration.revisions import Revisions
from firsthop_controlplane.feed.feed import Feed
from firsthop_controlplane.health.departures import Departures
from firsthop_controlplane.health.health_state import HealthState
from firsthop_controlplane.health.verdicts import VerdictEvaluator
from firsthop_controlplane.store.engine import create_engine
from firsthop_steering.feed.reports import TransceiverReport
from firsthop_steering.feed.snapshot import Plan
from firsthop_steering.health.depool import Shares
from firsthop_steering.plan.document import Document
from support.waiting import eventually

pytestmark = pytest.mark.database
PATH = "/v1/transceivers/eu-1"
HERE = {
    "region": "eu",
    "host": "127.0.20.1",
    "port": 3479,
    "signalling_ipv4": "127.0.20.1",
    "signalling_port": 8082,
}
DOCUMENT = {
    "transceiver_regions": [
        {"id": "eu", "latitude": 50.1, "longitude": 8.7, "networks": ["127.0.20.0/24"]},
        {"id": "us", "latitude": 39.0, "longitude": -77.5},
    ],
    "transceivers": [
        {"id": "us-1", "region": "us", "host": "127.0.30.1", "port": 3479, "wire_id": 9},
    ],
}


@pytest.fixture
def few_registrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine at once: a control plane of this test refuses the tenth."""
    assert wiring.MAX_REGISTERED >= 255, "a whole region may come at once"
    monkeypatch.setattr(wiring, "MAX_REGISTERED", 9)


@pytest.fixture
async def deployed(api: Any) -> Any:
    await api.made("/v1/changesets", {"document": DOCUMENT})
    return api


async def put(api: Any, token: str, path: str = PATH, **changes: Any) -> Any:
    return await api.call("PUT", path, HERE | changes, token=token)


async def revision(api: Any) -> Any:
    return (await api.get("/v1/revisions?limit=1")).body["items"][0]


async def test_a_registration_is_a_revision_once(deployed: Any) -> None:
    """201 and a wire id; the same again 200 and nothing new; another place a revision."""
    token = await deployed.token_of("transceiver", "eu")
    made = await put(deployed, token)
    assert (made.status, made.body["registered"]) == (201, True)
    newest = await revision(deployed)
    assert newest["message"] == "transceivers/eu-1 created"
    assert newest["author"].startswith("transceiver-")
    again = await put(deployed, token)
    assert (again.status, again.body) == (200, made.body)
    again = await put(deployed, token, wire_id=made.body["wire_id"])
    assert (again.status, again.body) == (200, made.body)
    assert await revision(deployed) == newest
    moved = await put(deployed, token, port=4000)
    assert (moved.status, moved.body["wire_id"]) == (200, made.body["wire_id"])
    newest = await revision(deployed)
    assert newest["message"] == "transceivers/eu-1: port changed"
    routes = json.loads((deployed.state_dir / "routes.json").read_text())["routes"]
    hops = {each["host"]: each["port"] for route in routes for each in route["upstreams"]}
    assert hops == {"127.0.20.1": 4000, "127.0.30.1": 3479}


async def test_a_token_reaches_no_further_than_its_region(deployed: Any) -> None:
    token = await deployed.token_of("transceiver", "eu")
    refused = await put(deployed, token, region="us")
    assert (refused.status, refused.rules) == (
        403,
        {"region": "this token is for transceiver region eu"},
    )
    refused = await put(deployed, token, host="192.0.2.1")
    assert (refused.status, set(refused.rules)) == (422, {"host"})
    refused = await put(deployed, token, "/v1/transceivers/us-1")
    assert (refused.status, refused.rules) == (409, {"id": "is a transceiver of region us"})
    other = await deployed.token_of("transceiver", "us")
    refused = await put(deployed, other, "/v1/transceivers/us-2", region="us")
    assert (refused.status, set(refused.rules)) == (422, {"region"})
    gone = await deployed.token_of("transceiver", "asia")
    for name in ("-a", "a-"):
        assert (await put(deployed, token, f"/v1/transceivers/{name}")).status == 404
    refused = await put(deployed, gone, "/v1/transceivers/a-1", region="asia")
    assert (refused.status, set(refused.rules)) == (422, {"region"})
    assert (await put(deployed, deployed.token)).status == 403, "an admin is no transceiver"
    assert (await put(deployed, token, wire_id=9)).status == 422, "it is another's"
    assert len((await deployed.get("/v1/transceivers")).body["items"]) == 1


async def test_what_operators_configured_is_confirmed_only(deployed: Any) -> None:
    token = await deployed.token_of("transceiver", "us")
    before = await revision(deployed)
    where = {"region": "us", "host": "127.0.30.1", "port": 3479}
    path = "/v1/transceivers/us-1"
    answer = await deployed.call("PUT", path, where, token=token)
    assert (answer.status, answer.body["wire_id"]) == (200, 9)
    answer = await deployed.call("PUT", path, where | {"port": 4000}, token=token)
    assert (answer.status, answer.rules) == (409, {"port": "is configured by operators as 3479"})
    assert await revision(deployed) == before


async def test_documents_of_operators_leave_registered_ones_alone(deployed: Any) -> None:
    """Unless they name it, which takes it over, or their region is gone."""
    token = await deployed.token_of("transceiver", "eu")
    made = (await put(deployed, token)).body
    again = await deployed.call("POST", "/v1/changesets", {"document": DOCUMENT})
    assert (again.status, again.body["changes"]) == (200, [])
    named = [*DOCUMENT["transceivers"], {"id": "eu-1", **HERE}]
    document = DOCUMENT | {"transceivers": named}
    await deployed.made("/v1/changesets", {"document": document})
    taken = (await deployed.get(PATH)).body
    assert taken == made | {"registered": False}
    assert (await put(deployed, token, port=4000)).status == 409
    await deployed.patch(PATH, {"registered": True})
    gone = DOCUMENT | {"transceiver_regions": DOCUMENT["transceiver_regions"][1:]}
    await deployed.made("/v1/changesets", {"document": gone})
    assert (await deployed.get(PATH)).status == 404
    assert (await put(deployed, token)).status == 422
    await deployed.made("/v1/changesets", {"document": DOCUMENT})
    back = await put(deployed, token)
    assert (back.status, back.body) == (201, made), "and it has its wire id again"


async def test_a_region_holds_so_many(deployed: Any) -> None:
    """A stolen token does not fill the plan."""
    token = await deployed.token_of("transceiver", "eu")
    many = [
        {"id": f"eu-{n}", "region": "eu", "host": "127.0.20.9", "port": n, "registered": True}
        for n in range(1000, 1255)
    ]
    document = DOCUMENT | {"transceivers": [*DOCUMENT["transceivers"], *many]}
    await deployed.made("/v1/changesets", {"document": document})
    assert (await put(deployed, token)).status == 201
    refused = await put(deployed, token, "/v1/transceivers/one-more", port=3480)
    assert (refused.status, set(refused.rules)) == (409, {"region"})


@pytest.mark.usefixtures("few_registrations")
async def test_a_token_may_change_so_much(start_api: Any) -> None:
    """It does not write history without end; what changes nothing costs nothing."""
    api = await start_api()
    await api.made("/v1/changesets", {"document": DOCUMENT})
    token = await api.token_of("transceiver", "eu")
    for _ in range(20):
        assert (await put(api, token, host="192.0.2.1")).status == 422
    assert (await put(api, token)).status == 201
    for port in range(4000, 4008):
        assert (await put(api, token, port=port)).status == 200
    answer = await put(api, token, port=4008)
    assert (answer.status, int(answer.headers["Retry-After"]) > 0) == (429, True)
    assert (await put(api, token, port=4007)).status == 200


def report(sequence: int, **said: Any) -> dict[str, Any]:
    return {"sequence": sequence, "sent_at": datetime.now(UTC).isoformat(), **said}


async def test_a_transceiver_speaks_for_itself_and_others_of_its_region(deployed: Any) -> None:
    """Its word is in the status, under the rules of an agent's."""
    token = await deployed.token_of("transceiver", "eu")
    path = f"{PATH}/reports"
    early = await deployed.call("POST", path, report(1), token=token)
    assert early.status == 404, "it has not registered"
    assert (await put(deployed, token, capacity=40)).status == 201
    said = report(7, sessions=10, cpu=0.5, draining=True)
    assert (await deployed.call("POST", path, said, token=token)).status == 204

    async def told() -> bool:
        known = (await deployed.get("/v1/status")).body["transceivers"].get("eu-1", {})
        wanted = {"verdict": "up", "draining": True, "sessions": 10, "load": 0.25}
        return bool(wanted.items() <= known.items())

    await eventually(told, "its word is in the status")
    status = (await deployed.get("/v1/status")).body
    assert status["transceiver_reports"]["eu-1"]["cpu"] == 0.5
    again = await deployed.call("POST", path, said, token=token)
    assert (again.status, again.rules) == (409, {"sequence": "is not newer"})
    late = report(8) | {"sent_at": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}
    skewed = await deployed.call("POST", path, late, token=token)
    assert (skewed.status, set(skewed.rules)) == (422, {"sent_at"})
    other = await deployed.call("POST", "/v1/transceivers/us-1/reports", report(1), token=token)
    assert (other.status, set(other.rules)) == (403, {"region"})
    metrics = (await deployed.get("/metrics")).body.decode()
    assert 'firsthop_transceiver_verdict{transceiver="eu-1"} 1.0' in metrics
    assert 'firsthop_transceiver_draining{transceiver="eu-1"} 1.0' in metrics
    assert 'firsthop_transceiver_load{transceiver="eu-1"} 0.25' in metrics


async def test_what_was_said_outlives_the_control_plane(start_api: Any) -> None:
    """The next one knows how every transceiver stood."""
    first = await start_api()
    await first.made("/v1/changesets", {"document": DOCUMENT})
    token = await first.token_of("transceiver", "eu")
    assert (await put(first, token)).status == 201
    said = report(1, sessions=3)
    assert (await first.call("POST", f"{PATH}/reports", said, token=token)).status == 204

    async def stands(api: Any, **wanted: Any) -> bool:
        known = (await api.get("/v1/status")).body["transceivers"].get("eu-1", {})
        return bool(wanted.items() <= known.items())

    await eventually(lambda: stands(first, verdict="up", sessions=3), "it is heard")
    await first.stop()
    second = await start_api()
    assert await stands(second, verdict="up", sessions=3)
    again = await second.call("POST", f"{PATH}/reports", said, token=token)
    assert again.status == 409, "what was said is not said again"


async def test_who_registered_and_is_gone_leaves_the_plan(deployed: Any, database_url: str) -> None:
    """In one revision by nobody's hand; its wire id stays its own."""
    token = await deployed.token_of("transceiver", "eu")
    made = (await put(deployed, token)).body
    now = datetime.now(UTC) + timedelta(days=2)
    observed = HealthState(
        evaluator=VerdictEvaluator(10.0, Shares()),
        started_at=now - timedelta(hours=1),
        report_stale_after_s=30.0,
        settle_s=3.0,
    )
    old = TransceiverReport(sequence=1, sent_at=now - timedelta(hours=25))
    observed.transceivers.reports.receive("eu-1", old, now - timedelta(hours=25), token=token)
    database = create_engine(database_url, application="test", statement_timeout_s=5)
    feed = Feed(Ed25519PrivateKey.generate())
    plan = (await deployed.get("/v1/document")).body
    feed.publish(
        Plan(number=1, lineage="a", created_at=now, document=Document.model_validate(plan))
    )
    impact = ChangeImpact(feed, None, guard_share=0.25, now=lambda: now)
    departures = Departures(
        Revisions(database, lambda: now, impact, allow_loopback=True),
        feed,
        lambda: observed,
        may_remove=lambda: True,
        now=lambda: now,
    )
    await departures.look()
    await database.dispose()

    async def gone() -> bool:
        return bool((await deployed.get(PATH)).status == 404)

    await eventually(gone, "it is no longer in the plan")
    assert (await revision(deployed))["message"] == "no report for a day: eu-1"
    assert (await revision(deployed))["author"] == "firsthop"
    assert (await put(deployed, token)).body == made
