"""Samples of round trips into a real control plane, and what it says and publishes of them."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from firsthop.controlplane.explaining import Explainer
from firsthop_controlplane.feed.feed import Feed
from firsthop_controlplane.leader.leadership import Leader as Leading
from firsthop_controlplane.leader.leadership import Lease
from firsthop_controlplane.leader.replica import ReplicaLeadership
from firsthop_controlplane.learning.intake import BURST, batch_name
from firsthop_controlplane.learning.loop import LatencyLoop
from firsthop_controlplane.store.engine import create_engine
from firsthop_geodata.mmdb import open_geodata
from firsthop_steering.feed.measurements import MAX_SAMPLES
from firsthop_steering.feed.snapshot import Latency, Plan
from firsthop_steering.plan.document import Document
from firsthop_steering.planner.groups import NOBODY
from firsthop_steering.rtt.samples import REGION_BITS, Samples
from support.geodata import compiled_geodata
from support.old_ledger import part_of_means
from support.waiting import eventually
from support.worlds import ZONE

pytestmark = pytest.mark.database
DOCUMENT = {
    "regions": [
        {"id": "fra", "latitude": 50.11, "longitude": 8.68},
        {"id": "nyc", "latitude": 40.71, "longitude": -74.01},
    ],
    "relays": [
        {"id": "fra-1", "region": "fra", "ipv4": "127.0.10.1"},
        {"id": "nyc-1", "region": "nyc", "ipv4": "127.0.10.2"},
    ],
}  # fmt: skip
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
    await api.made("/v1/changesets", {"document": DOCUMENT})

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
    before = await _told(deployed, client)
    made = (await deployed.made("/v1/tokens", {"name": "thief", "role": "operator"})).body
    batch = _batch(*[_sample(rtt_ms=150.0)] * 9, *[_sample(**far)] * 9)
    assert (await deployed.call("POST", PATH, batch, token=made["secret"])).status == 200

    async def published() -> bool:
        return (await _told(deployed, client)).get("nyc", {}).get("published_ms") is not None

    await eventually(published, "the lie is published")
    for body, status in (({"token": made["id"]}, 403), ({}, 422), ({"prefix": "x"}, 422)):
        viewer = await deployed.token_of("viewer")
        token = {"token": viewer} if status == 403 else {}
        answer = await deployed.call("POST", f"{PATH}/forget", body, **token)
        assert answer.status == status, answer
    where = f"/v1/tokens/{made['id']}"
    assert (await deployed.call("DELETE", where, headers={"If-Match": "*"})).status == 204
    assert await published(), "a deleted token's reports stay until they are forgotten"
    answer = await deployed.call("POST", f"{PATH}/forget", {"token": made["id"]})
    assert (answer.status, answer.body) == (200, {"reports": 18})

    async def gone() -> bool:
        told = await _told(deployed, client)
        return bool(told) and all(each["published_ms"] is None for each in told.values())

    await eventually(gone, "edges no longer get it")
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
    ({"at": "2026-01-01T00:00:00"}, "at", "timezone"),
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


async def test_a_token_that_brings_too_much_is_told_when_to_come_again(
    deployed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its batch was not taken: it may be sent again."""
    a_second = 10  # less than a busy machine brings
    monkeypatch.setattr("firsthop_controlplane.learning.intake.SAMPLES_PER_S", a_second)
    secret = await deployed.token_of("admin")
    answers = [
        await deployed.call("POST", PATH, _batch(*[_sample()] * MAX_SAMPLES), token=secret)
        for _ in range(BURST // MAX_SAMPLES + 2)
    ]
    refused = next(each for each in answers if each.status == 429)
    assert str(BURST) in refused.body["detail"]
    assert 1 <= int(refused.headers["Retry-After"]) <= MAX_SAMPLES / a_second
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


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """The store of this test, whose leader has term 7."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE leader SET term = 7")
    await connection.close()
    made = create_engine(database_url, application="test", statement_timeout_s=10)
    yield made
    await made.dispose()


def leading(term: int) -> ReplicaLeadership:
    """A replica that leads for as long as the test runs."""
    leadership = ReplicaLeadership(url="", clock=lambda: 0.0)
    leadership.state = Leading(Lease(term, "this"), asked_at=0.0, renewed_at=0.0)
    return leadership


class Leader:
    """The loop of one leader, turned by hand."""

    def __init__(self, engine: AsyncEngine, geo: Any, term: int) -> None:
        self.feed = Feed(Ed25519PrivateKey.generate())
        self.feed.publish(
            Plan(
                number=1,
                lineage="store",
                created_at=datetime.now(UTC),
                document=Document.model_validate(DOCUMENT),
            )
        )
        self.loop = LatencyLoop(
            engine,
            self.feed,
            geo,
            leading(term),
            lambda: NOBODY,
            now=lambda: datetime.now(UTC),
            clock=time.monotonic,
            kept=timedelta(days=7),
        )
        self.loop.lead(term)

    @property
    def latency(self) -> Latency | None:
        found = self.feed.present("latency")
        assert found is None or isinstance(found, Latency)
        return found

    def bring(self, name: str, *rows: tuple[int, str, float]) -> None:
        """A batch of prefix, region, ms."""
        memory = self.loop.memory
        assert memory is not None
        present = {"fra", "nyc"}
        memory.intake.take(
            batch_name("token", name),
            Samples(
                np.array([prefix for prefix, _, _ in rows], dtype=np.uint64),
                np.array([memory.numbers.number(region, present) or 0 for _, region, _ in rows]),
                np.ones(len(rows), dtype=np.int64),
                np.array([rtt for _, _, rtt in rows]),
            ),
            time.time(),
        )


def _prefix(text: str) -> int:
    return int(ip_address(text)) >> 8


async def test_the_next_leader_publishes_what_the_one_before_did(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    """The very same snapshot at once; and one that learns of the same samples has no news."""
    geo = open_geodata(None, None, compiled_geodata())
    first = Leader(engine, geo, 7)
    await first.loop.turn()
    assert first.latency is None, "nothing is known, so edges go by the map"
    rows = [(_prefix(f"8.{n}.1.0"), "nyc" if n % 2 else "fra", 20.0 + n) for n in range(40)]
    first.bring("batch-1", *rows, *[(prefix, "fra", 90.0) for prefix, _, _ in rows])
    await first.loop.turn()
    assert first.latency is not None
    assert first.latency.number == 7_000_000_001
    assert first.latency.regions == ("fra", "nyc")
    assert len(first.latency.prefixes) == 40
    await first.loop.save()
    assert await first.loop.history.save()
    second = Leader(engine, geo, 7)
    await second.loop.turn()
    assert second.latency == first.latency
    assert second.loop.learned is not None, "it learned anew, and had nothing to say"
    memory = second.loop.memory
    assert memory is not None
    assert memory.intake.is_repeated(batch_name("token", "batch-1"))


async def test_a_former_leader_writes_nothing(engine: AsyncEngine, tmp_path: Path) -> None:
    """What it knows is not mixed with what its successor learns."""
    geo = open_geodata(None, None, compiled_geodata())
    former = Leader(engine, geo, 6)
    await former.loop.turn()
    former.bring("batch-1", (_prefix("8.8.8.0"), "fra", 20.0))
    await former.loop.turn()
    await former.loop.save()
    second = Leader(engine, geo, 7)
    await second.loop.turn()
    assert second.loop.memory is not None
    assert len(second.loop.memory.model.ledger) == 0
    assert second.latency is None


async def test_what_cannot_be_read_is_written_anew(
    engine: AsyncEngine, tmp_path: Path, database_url: str
) -> None:
    """A damaged row does not keep a leader from learning."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("INSERT INTO rtt_part (written_at, content) VALUES (now(), 'junk')")
    await connection.execute("INSERT INTO guidance_past VALUES ('latency', 1, now(), true, 'junk')")
    await connection.close()
    geo = open_geodata(None, None, compiled_geodata())
    leader = Leader(engine, geo, 7)
    await leader.loop.turn()
    leader.bring("batch-1", (_prefix("8.8.8.0"), "fra", 20.0))
    await leader.loop.turn()
    await leader.loop.save()
    assert await leader.loop.history.save()
    assert leader.latency is not None
    second = Leader(engine, geo, 7)
    await second.loop.turn()
    assert second.latency == leader.latency
    assert second.loop.memory is not None
    assert len(second.loop.memory.model.ledger) == 1


async def test_old_rows_of_measured_hosts_are_read_and_dropped(
    engine: AsyncEngine, tmp_path: Path, database_url: str
) -> None:
    """What an earlier version stored under a prefix's number with bit 49 set, beside clients."""
    prefix = _prefix("8.8.8.0")
    now = int(time.time())
    means = [
        (prefix << REGION_BITS, 3, 20.0, now),
        ((prefix | 1 << 49) << REGION_BITS, 1, 90.0, now),
    ]
    content = part_of_means(("fra", "nyc"), *means, batches={})
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO rtt_part (written_at, content) VALUES (now(), $1)", content
    )
    await connection.close()
    leader = Leader(engine, open_geodata(None, None, compiled_geodata()), 7)
    await leader.loop.turn()
    assert leader.loop.memory is not None
    assert leader.loop.learned is not None
    assert leader.loop.learned.prefixes.tolist() == [prefix]
    assert leader.loop.learned.entries.mean_ms.tolist() == pytest.approx([20.0])


async def test_samples_are_learned_from_while_the_database_is_away(
    engine: AsyncEngine, tmp_path: Path, postgres: Any, database_url: str
) -> None:
    """And saved when it is back."""
    geo = open_geodata(None, None, compiled_geodata())
    leader = Leader(engine, geo, 7)
    await leader.loop.turn()
    name = make_url(database_url).database
    admin = await asyncpg.connect(postgres.url_of("postgres"))
    try:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
        )
        leader.bring("batch-1", (_prefix("8.8.8.0"), "fra", 20.0))
        await leader.loop.turn()
        await leader.loop.save()
        assert leader.latency is not None
        assert leader.loop.save_error
    finally:
        await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await admin.close()
    await leader.loop.save()
    assert not leader.loop.save_error
    second = Leader(engine, geo, 7)
    await second.loop.turn()
    assert second.loop.memory is not None
    assert len(second.loop.memory.model.ledger) == 1
