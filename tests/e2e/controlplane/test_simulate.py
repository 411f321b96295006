"""What would become of clients: asked over HTTP and from the command line, changing nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from typer.testing import CliRunner

from firsthop.command_line import build
from firsthop.controlplane.explaining import Explainer
from support.geodata import compiled_geodata
from support.placed import NAME, document_of

pytestmark = pytest.mark.database

PLACES = {"fra": (50.1, 8.7), "iad": (39.0, -77.5), "gru": (-23.5, -46.6)}
DOCUMENT = document_of(PLACES, when_all_down="closed")
GERMAN, AMERICAN = "91.0.0.1", "12.0.0.0/8"


@pytest_asyncio.fixture(name="seeing")
async def seeing_fixture(start_api: Any, tmp_path: Path) -> Any:
    """A control plane that knows where clients are, with three regions."""
    api = await start_api(explain=Explainer(None, None, compiled_geodata()))
    await api.made("/v1/changesets", {"document": DOCUMENT})
    return api


async def _effect(api: Any, **supposed: Any) -> dict[str, Any]:
    answer = await api.call("POST", "/v1/simulate", supposed)
    assert answer.status == 200, answer
    (effect,) = answer.body["effects"]
    return dict(effect)


async def test_a_region_is_lost(seeing: Any) -> None:
    """Its clients go to the next, by any name of the service; when all are lost, nowhere."""
    for service in ("relay", NAME, None):
        effect = await _effect(seeing, lost_regions=["fra"], service=service)
        assert {move["source"] for move in effect["moves"]} == {"fra"}
        assert effect["rtt_after"]["p95_ms"] > effect["rtt_before"]["p95_ms"]
        after = {each["region"]: each["after"] for each in effect["regions"]}
        assert after["fra"] == 0
        assert sum(after.values()) == pytest.approx(1, abs=1e-4)
    lost = await _effect(seeing, lost_regions=["fra"], lost_relays=["iad-1", "gru-1"])
    assert (lost["moved"], lost["lost"], lost["rtt_after"]["mean_ms"]) == (1, 1, None)
    assert len((await seeing.get("/v1/revisions")).body["items"]) == 1


async def test_single_clients_under_another_document(seeing: Any) -> None:
    """Each counts once, whether address or prefix."""
    only = {"id": "o", "country": "DE", "regions": ["gru"], "mode": "only"}
    document = DOCUMENT | {"overrides": [only]}
    effect = await _effect(seeing, document=document, clients=[GERMAN, AMERICAN, "2a02::1", GERMAN])
    assert (effect["clients"], effect["moved_ipv6"]) == (4, None)
    assert {(m["source"], m["target"], m["share"]) for m in effect["moves"]} >= {
        ("fra", "gru", 0.5)
    }


async def test_what_cannot_be_supposed_is_named(seeing: Any) -> None:
    """Every field that is wrong, with its rule."""
    wrong = {
        "lost_regions": ["fra", "nope"],
        "lost_relays": ["fra"],
        "clients": [GERMAN, "nobody"],
        "document": DOCUMENT | {"relays": [{"id": "x", "region": "y", "ipv4": "192.0.2.1"}]},
    }
    refused = await seeing.call("POST", "/v1/simulate", wrong)
    assert refused.status == 422
    assert refused.rules == {
        "relays/x/region": "names no region: y",
        "lost_regions/1": "names no region: nope",
        "lost_relays/0": "names no relay: fra",
        "clients/1": "must be an IP address or prefix",
    }
    assert (await seeing.call("POST", "/v1/simulate", {"service": "nope"})).status == 404
    assert (await seeing.call("POST", "/v1/simulate", {"clients": 1})).status == 422
    empty = await seeing.call("POST", "/v1/simulate", {"clients": [], "lost_regions": ["fra"]})
    assert (empty.status, [each["field"] for each in empty.body["errors"]]) == (422, ["clients"])


async def test_without_geo_data_nothing_is_simulated(api: Any) -> None:
    assert (await api.call("POST", "/v1/simulate", {})).status == 501


async def test_the_command_line(seeing: Any, tmp_path: Path) -> None:
    """Tables for people, JSON for programs; a file of clients, a document."""

    async def firsthop(*arguments: str) -> tuple[int, str, str]:
        environment = {"FIRSTHOP_API_URL": seeing.url, "FIRSTHOP_STATE_DIR": str(seeing.state_dir)}
        run = CliRunner().invoke
        result = await asyncio.to_thread(run, build(arguments[0]), arguments, env=environment)
        return result.exit_code, result.stdout, result.stderr

    (tmp_path / "clients").write_text(f"# two\n{GERMAN}\n\n{AMERICAN}  # all of it\n")
    clients = ("--clients", str(tmp_path / "clients"))
    code, told, error = await firsthop("simulate", "--lose-region", "fra", *clients)
    assert code == 0, error
    assert told.splitlines()[0] == f"{NAME}: 50.0% of clients move"
    assert "  fra -> iad            50.0%" in told.splitlines()
    rows = [line.split() for line in told.splitlines()]
    assert ["fra", "0", "50.0%", "0.0%", "-", "-"] in rows
    assert "DE: 100.0% of its clients move, 50.0% of all" in told.splitlines()

    drained = DOCUMENT | {"regions": [{**DOCUMENT["regions"][0], "weight": 0}]}
    drained["regions"] += DOCUMENT["regions"][1:]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(drained))
    file = ("-f", str(tmp_path / "plan.yaml"))
    code, told, error = await firsthop("simulate", *file, "--service", "relay", "--json")
    assert code == 0, error
    assert json.loads(told)["effects"][0]["moves"][0]["source"] == "fra"
    code, told, error = await firsthop("apply", *file)
    assert code == 1
    assert "409 Conflict: services/" in error
    assert "the guard allows" in error
    code, told, error = await firsthop("apply", *file, "--dry-run")
    assert "of clients move" in told
    assert (await firsthop("drain", "regions", "iad"))[0] == 1
    assert (await firsthop("drain", "regions", "iad", "--force"))[0] == 0
    assert (await firsthop("apply", *file, "--force"))[0] == 0
    code, _, error = await firsthop("simulate", "--lose-relay", "nope")
    assert (code, "lost_relays/0: names no relay: nope" in error) == (1, True)
