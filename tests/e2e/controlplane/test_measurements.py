"""Samples of round trips into a real control plane, and what it says and publishes of them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from firsthop.controlplane.explaining import Explainer
from firsthop_controlplane.learning.intake import BURST
from firsthop_steering.feed.measurements import MAX_SAMPLES
from support.geodata import compiled_geodata
from support.waiting import eventually
from support.worlds import TWO_REGIONS, ZONE

pytestmark = pytest.mark.database
PATH = "/v1/measurements"
_names = (f"batch-{number:04}" for number in itertools.count())


def _sample(**fields: Any) -> dict[str, Any]:
    at = datetime.now(UTC).isoformat()
    return {"client": "198.51.100.7", "relay": "fra-1", "rtt_ms": 20.0, "at": at, **fields}


def _batch(*samples: dict[str, Any]) -> dict[str, Any]:
    return {"batch": next(_names), "samples": list(samples)}


@pytest.fixture
async def deployed(start_api: Any, tmp_path: Path) -> Any:
    """A control plane with geo data, two regions, and what it needs to take samples."""
    explainer = Explainer(None, None, compiled_geodata())
    api = await start_api(explain=explainer, geo=explainer.geo, learn_interval_s=0.2)
    await api.made("/v1/changesets", {"document": TWO_REGIONS})

    async def takes() -> bool:
        return bool((await api.get("/v1/latency?client=192.0.2.1")).status != 503)

    await eventually(takes, "what was learned before is read")
    return api


async def _told(api: Any, client: str) -> dict[str, Any]:
    """What is known of a client, by region; empty while nothing was learned."""
    answer = await api.get(f"/v1/latency?client={client}")
    return {each["region"]: each for each in answer.body.get("regions", [])}


async def test_samples_are_learned_from_and_say_so(deployed: Any) -> None:
    """A client that reaches New York faster than Frankfurt, whatever the map says."""
    secret = await deployed.token_of("operator")
    batch = _batch(
        *(_sample(rtt_ms=120.0) for _ in range(9)),
        *(_sample(client="198.51.100.0/24", relay=None, region="nyc") for _ in range(9)),
    )
    answer = await deployed.call("POST", PATH, batch, token=secret)
    assert answer.status == 200, answer
    assert (answer.body["samples"], answer.body["repeated"]) == (18, False)
    again = await deployed.call("POST", PATH, batch, token=secret)
    assert (again.status, again.body["samples"], again.body["repeated"]) == (200, 0, True)

    async def learned() -> bool:
        told = (await _told(deployed, "198.51.100.200")).get("nyc", {})
        return told.get("source") == "prefix" and told["published_ms"] is not None

    await eventually(learned, "the samples are learned from, and published")
    told = await _told(deployed, "198.51.100.200")
    assert told["nyc"]["rtt_ms"] < 40 < 80 < told["fra"]["rtt_ms"]
    assert told["nyc"]["samples"] == told["fra"]["samples"] == pytest.approx(9.0, abs=0.01)
    assert told["nyc"]["published_ms"] < told["fra"]["published_ms"]
    other = await _told(deployed, "203.0.113.9")
    assert other["nyc"]["source"] != "prefix"
    assert other["nyc"]["published_ms"] is None
    metrics = (await deployed.get("/metrics")).body.decode()
    assert 'firsthop_rtt_samples_total{outcome="taken"} 18.0' in metrics
    assert 'firsthop_rtt_samples_total{outcome="repeated"} 18.0' in metrics
    assert "firsthop_rtt_entries 2.0" in metrics


async def test_what_is_forgotten_is_gone_from_the_answers(deployed: Any) -> None:
    """By its sender, whose token was deleted meanwhile: what edges get is what it was before."""
    client, far = "198.51.100.7", {"relay": "nyc-1", "rtt_ms": 12.0}
    await deployed.made("/v1/zones", ZONE)
    await deployed.made("/v1/services", {"id": "relay", "name": "relay.edge.example."})
    before = await _told(deployed, client)
    made = (await deployed.made("/v1/tokens", {"name": "thief", "role": "operator"})).body
    batch = _batch(*[_sample(rtt_ms=150.0)] * 9, *[_sample(**far)] * 9)
    assert (await deployed.call("POST", PATH, batch, token=made["secret"])).status == 200

    async def by_prefix(*, expected: bool) -> bool:
        explained = await deployed.get(f"/v1/explain?service=relay&client={client}")
        sources = {each["rtt_source"] for each in explained.body["candidates"]}
        return ("prefix" in sources) == expected

    await eventually(lambda: by_prefix(expected=True), "the lie is published")
    for body, status in (({"token": made["id"]}, 403), ({}, 422), ({"prefix": "x"}, 422)):
        viewer = await deployed.token_of("viewer")
        token = {"token": viewer} if status == 403 else {}
        answer = await deployed.call("POST", f"{PATH}/forget", body, **token)
        assert answer.status == status, answer
    where = f"/v1/tokens/{made['id']}"
    assert (await deployed.call("DELETE", where, headers={"If-Match": "*"})).status == 204
    assert await by_prefix(expected=True), "a deleted token's reports stay until they are forgotten"
    answer = await deployed.call("POST", f"{PATH}/forget", {"token": made["id"]})
    assert (answer.status, answer.body) == (200, {"reports": 18})

    await eventually(lambda: by_prefix(expected=False), "edges no longer get it")
    told = await _told(deployed, client)
    assert all(each["published_ms"] is None for each in told.values())
    after = await _told(deployed, client)
    assert {name: each["rtt_ms"] for name, each in after.items()} == {
        name: each["rtt_ms"] for name, each in before.items()
    } or not before
    again = await deployed.call("POST", f"{PATH}/forget", {"token": "thief"})
    assert again.body == {"reports": 0}


async def test_demand_alone_makes_edges_look_round(deployed: Any) -> None:
    """Without one sample: where many are whom two regions may serve equally well."""
    more = {"id": "lon", "latitude": 51.5, "longitude": -0.12}
    await deployed.made("/v1/regions", more)
    await deployed.made("/v1/relays", {"id": "lon-1", "region": "lon", "ipv4": "127.0.10.3"})
    await deployed.made("/v1/zones", ZONE)
    await deployed.made("/v1/services", {"id": "relay", "name": "relay.edge.example."})
    client = "194.109.6.0/24"  # Amsterdam, by the bundled data somewhere in the Netherlands
    told = {"service": "relay", "source": "allocations", "region": "fra", "answers": 900,
            "clients": {client: 900}}  # fmt: skip
    secret = await deployed.token_of("edge")
    now = datetime.now(UTC)
    since = (now - timedelta(seconds=10)).isoformat()
    report = {"since": since, "until": now.isoformat(), "answers": [told]}
    assert (await deployed.call("POST", "/v1/demand", report, token=secret)).status == 204

    async def looks() -> Any:
        answer = await deployed.get(f"/v1/latency?client={client.split('/')[0]}")
        return answer.body.get("explore")

    promise = await eventually(looks, "a promise is published")
    assert promise["rate"] == pytest.approx(0.03 * 0.75, abs=0.001)
    assert promise["gain_ms"].keys() <= {"fra", "lon"}
    assert "firsthop_rtt_entries 0.0" in (await deployed.get("/metrics")).body.decode()


NONSENSE: list[Any] = [
    ({"rtt_ms": 0}, "rtt_ms", "greater than 0"),
    ({"rtt_ms": 3000.5}, "rtt_ms", "less than or equal to 3000"),
    ({"relay": "nobody"}, "relay", "there is no relay nobody"),
    ({"relay": None, "region": "nowhere"}, "region", "there is no region nowhere"),
    ({"region": "fra"}, "", "exactly one of relay and region"),
    ({"client": "198.51.100.0/23"}, "client", "/24 or longer"),
    ({"client": "2001:db8::/32"}, "client", "/48 or longer"),
    ({"client": "localhost"}, "client", ""),
    ({"at": (datetime.now(UTC) - timedelta(minutes=16)).isoformat()}, "at", "15 minutes ago"),
    ({"at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}, "at", "in the future"),
    ({"at": "2026-01-01T00:00:00"}, "at", "RFC 3339"),
    ({"colour": "red"}, "colour", "not permitted"),
    ({"representative": True}, "representative", "not permitted"),
]


async def test_nonsense_is_refused_by_name(deployed: Any) -> None:
    """The whole batch, with the place of the sample; and then nothing of it is learned."""
    secret = await deployed.token_of("operator")
    for fields, field, rule in NONSENSE:
        batch = _batch(_sample(), _sample(**fields))
        answer = await deployed.call("POST", PATH, batch, token=secret)
        assert answer.status == 422, fields
        (name, said), *_ = answer.rules.items()
        assert name.startswith(f"samples/1/{field}".rstrip("/")), fields
        assert rule in said, fields
    metrics = (await deployed.get("/metrics")).body.decode()
    assert 'outcome="taken"} 0.0' in metrics


async def test_a_list_is_not_called_short_for_its_faulty_items(deployed: Any) -> None:
    """One rule was broken, so one is named."""
    secret = await deployed.token_of("operator")
    batch = _batch(_sample(client="0.0.0.0/0"))
    answer = await deployed.call("POST", PATH, batch, token=secret)
    assert [*answer.rules] == ["samples/0/client"]
    answer = await deployed.call("POST", PATH, _batch(), token=secret)
    assert [*answer.rules] == ["samples"]


async def test_batches_are_bounded_and_named(deployed: Any) -> None:
    """By the number of samples, and by the name that makes a repetition harmless."""
    secret = await deployed.token_of("operator")
    for body, field in (
        (_batch(), "samples"),
        (_batch(*[_sample()] * (MAX_SAMPLES + 1)), "samples"),
        (_batch(_sample()) | {"batch": "short"}, "batch"),
        ({"samples": [_sample()]}, "batch"),
    ):
        answer = await deployed.call("POST", PATH, body, token=secret)
        assert answer.status == 422
        assert list(answer.rules) == [field]


@pytest.fixture
def samples_a_second(monkeypatch: pytest.MonkeyPatch) -> int:
    """Fewer samples than a busy machine brings are taken in a second."""
    monkeypatch.setattr("firsthop_controlplane.learning.intake.SAMPLES_PER_S", 10)
    return 10


async def test_a_token_that_brings_too_much_is_told_when_to_come_again(
    samples_a_second: int, deployed: Any
) -> None:
    """And its batch was not taken: it may be sent again."""
    secret = await deployed.token_of("admin")
    answers = [
        await deployed.call("POST", PATH, _batch(*[_sample()] * MAX_SAMPLES), token=secret)
        for _ in range(BURST // MAX_SAMPLES + 2)
    ]
    refused = next(each for each in answers if each.status == 429)
    assert str(BURST) in refused.body["detail"]
    assert 1 <= int(refused.headers["Retry-After"]) <= MAX_SAMPLES / samples_a_second
    other = await deployed.token_of("operator")
    assert (await deployed.call("POST", PATH, _batch(_sample()), token=other)).status == 200


CALLERS: list[Any] = [
    ("agent", "fra-1", 200),
    ("agent", "nyc-1", 403),
    ("allocator", None, 403),
    ("transceiver", "eu", 403),
    ("operator", None, 200),
    ("viewer", None, 403),
    ("edge", None, 403),
    ("prober", "a", 403),
]


async def test_who_may_bring_samples(deployed: Any) -> None:
    """Without a ticket or a session only operators, and an agent those of its own relay."""
    for role, scope, status in CALLERS:
        secret = await deployed.token_of(role, scope)
        answer = await deployed.call("POST", PATH, _batch(_sample()), token=secret)
        assert answer.status == status, (role, scope)
