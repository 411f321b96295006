"""What a change does to clients is told before it is made, and too much of it has to be forced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firsthop.controlplane.explaining import Explainer
from support.geodata import compiled_geodata
from support.placed import NAME, document_of

pytestmark = pytest.mark.database

PLACES = {"fra": (50.1, 8.7), "iad": (39.0, -77.5), "sin": (1.35, 103.8), "gru": (-23.5, -46.6)}
DOCUMENT = document_of(PLACES)


@pytest.fixture(name="seeing")
def seeing_fixture(start_api: Any, tmp_path: Path) -> Any:
    """Starts a control plane that knows where clients are."""

    async def start(**settings: Any) -> Any:
        api = await start_api(explain=Explainer(None, None, compiled_geodata()), **settings)
        made = await api.made("/v1/changesets", {"document": DOCUMENT})
        assert {each["moved"] for each in made.body["effects"]} == {0}, "nobody was answered before"
        return api

    return start


def _without(region: str) -> dict[str, Any]:
    regions = [
        each | {"weight": 0} if each["id"] == region else each for each in DOCUMENT["regions"]
    ]
    return {"document": DOCUMENT | {"regions": regions}}


async def test_a_change_set_tells_whom_it_moves(seeing: Any) -> None:
    """A dry run says the same as the change; the clients of one region go to others."""
    api = await seeing()
    dry = await api.call("POST", "/v1/changesets", _without("gru") | {"dry_run": True})
    (effect,) = dry.body["effects"]
    assert (effect["service"], effect["lost"]) == (NAME, 0)
    assert 0 < effect["moved"] < 0.25
    assert {move["source"] for move in effect["moves"]} == {"gru"}
    assert sum(move["share"] for move in effect["moves"]) == pytest.approx(
        effect["moved"], abs=1e-4
    )
    assert effect["rtt_after"]["mean_ms"] > effect["rtt_before"]["mean_ms"]
    assert effect["countries"][0]["country"] == "BR"
    real = await api.made("/v1/changesets", _without("gru"))
    assert real.body["effects"] == dry.body["effects"]
    zone = {"ttl": 60}
    assert (await api.patch("/v1/zones/edge.example.", zone)).status == 200


async def test_too_many_clients_move_only_by_force(seeing: Any) -> None:
    """Refused by name and number, in every way there is to change it; nothing is stored."""
    api = await seeing()
    for body in (_without("iad"), {"document": {}}):
        refused = await api.call("POST", "/v1/changesets", body)
        assert (refused.status, refused.body["type"]) == (409, "urn:firsthop:problem:guarded")
        assert list(refused.rules) == [f"services/{NAME}"]
        assert (await api.call("POST", "/v1/changesets", body | {"dry_run": True})).status == 200
    refused = await api.patch("/v1/regions/iad", {"state": "draining"})
    assert refused.status == 409
    assert "iad to" in refused.body["detail"]
    assert "the guard allows 25%" in refused.body["detail"]
    assert (await api.delete("/v1/services/relay")).status == 409
    only = {"id": "o", "continent": "NA", "regions": ["sin"], "mode": "only"}
    assert (await api.call("POST", "/v1/overrides", only)).status == 409
    assert [each["number"] for each in (await api.get("/v1/revisions")).body["items"]] == [1]

    await api.made("/v1/overrides?force=true", only)
    assert (await api.call("POST", "/v1/revisions/1/restore")).status == 409
    assert (await api.call("POST", "/v1/revisions/1/restore?force=true")).status == 201
    tag = (await api.get("/v1/regions/iad")).etag
    forced = await api.call("PATCH", "/v1/regions/iad?force=true", {"weight": 0}, headers=tag)
    assert forced.status == 200
    await api.made("/v1/changesets", {"document": DOCUMENT, "force": True})
    tag = (await api.get("/v1/services/relay")).etag
    assert (await api.call("DELETE", "/v1/services/relay?force=true", headers=tag)).status == 204
    assert (await api.call("PATCH", "/v1/regions/iad?force=maybe", {}, headers=tag)).status == 400


async def test_the_share_is_a_setting(seeing: Any) -> None:
    """0: nobody may move unforced; 1: everybody may."""
    strict = await seeing(guard_share=0.0)
    assert (await strict.patch("/v1/regions/gru", {"weight": 99})).status == 409
    assert (await strict.patch("/v1/regions/gru", {"name": "São Paulo"})).status == 200
    await strict.stop()


async def test_without_geo_data_nothing_is_foreseen(api: Any) -> None:
    """The answer says that it does not know, and every change is made."""
    made = await api.made("/v1/changesets", {"document": DOCUMENT})
    assert made.body["effects"] is None
    assert (await api.call("POST", "/v1/changesets", {"document": {}})).status == 201


async def test_a_service_may_want_several_failure_domains(api: Any) -> None:
    """More than there are is refused; while fewer are there than wanted, the status says so."""
    await api.made("/v1/changesets", {"document": DOCUMENT})
    assert (await api.get("/v1/services/relay")).body["min_candidates"] == 1
    refused = await api.patch("/v1/services/relay", {"min_candidates": 5})
    assert (refused.status, list(refused.rules)) == (422, ["services/relay/min_candidates"])
    assert (await api.patch("/v1/services/relay", {"min_candidates": 4})).status == 200
    assert (await api.get("/v1/status")).body["warnings"] == []
    assert (await api.patch("/v1/regions/gru", {"state": "draining"})).status == 200
    (warning,) = (await api.get("/v1/status")).body["warnings"]
    assert warning == {
        "field": "services/relay/min_candidates",
        "rule": "for all clients there are now 3 failure domains; 4 are required",
    }
