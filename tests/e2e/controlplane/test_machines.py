"""Probers and agents over HTTP, and the verdicts that follow from what they say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from firsthop_steering.feed.reports import ProbeTargets
from support.waiting import eventually

pytestmark = pytest.mark.database
DOCUMENT = {
    "regions": [{"id": "fra", "latitude": 50.11, "longitude": 8.68}],
    "relays": [
        {"id": "fra-1", "region": "fra", "ipv4": "127.0.10.1", "capacity": 200},
        {"id": "fra-2", "region": "fra", "ipv6": "2001:db8::2", "state": "draining",
         "tcp_port": 443, "probe": {"kind": "tcp"}},
        {"id": "fra-3", "region": "fra", "ipv4": "127.0.10.3", "state": "disabled"},
    ],
}  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC)


def _report(prober: str, verdict: str, *relays: str, at: datetime | None = None) -> dict[str, Any]:
    now = (at or _now()).isoformat()
    views = [
        {"relay": each, "verdict": verdict, "since": now, "checked_at": now, "reason": "timeout"}
        for each in relays
    ]
    return {"prober": prober, "vantage": prober, "sent_at": now, "views": views}


async def _results(api: Any, secret: str, report: dict[str, Any]) -> int:
    return int((await api.call("POST", "/v1/probes/results", report, token=secret)).status)


async def _relay(api: Any, name: str) -> dict[str, Any]:
    return dict((await api.get("/v1/status")).body["relays"][name])


@pytest.fixture
async def deployed(api: Any) -> Any:
    """A control plane with three relays."""
    await api.made("/v1/changesets", {"document": DOCUMENT})
    return api


async def test_targets_are_what_is_to_be_checked(deployed: Any) -> None:
    """Active and draining relays, with a fresh credential for each stun check."""
    secret = await deployed.token_of("prober")
    body = (await deployed.get("/v1/probes/targets", token=secret)).body
    one, two = ProbeTargets.model_validate(body).targets
    assert (one.relay, one.kind, str(one.address), one.port) == (
        "fra-1",
        "stun",
        "127.0.10.1",
        3478,
    )
    assert (len(one.ufrag or ""), len(one.password or "")) == (31, 32)
    assert (two.relay, two.kind, str(two.address), two.port) == ("fra-2", "tcp", "2001:db8::2", 443)
    assert two.ufrag is None
    again = (await deployed.get("/v1/probes/targets", token=secret)).body
    assert again["targets"][0]["ufrag"] != one.ufrag


async def test_a_path_probe_leads_to_its_transceiver_region(api: Any) -> None:
    """With one credential of a session there for each prober, the same one every time."""
    far = {"id": "eu", "latitude": 50.11, "longitude": 8.68}
    probe = {"kind": "path", "transceiver_region": "eu"}
    relay = {"id": "fra-1", "region": "fra", "ipv4": "127.0.10.1", "probe": probe}
    document = {"regions": DOCUMENT["regions"], "relays": [relay]}
    refused = await api.call("POST", "/v1/changesets", {"document": document})
    assert refused.status == 422
    assert "names no transceiver region: eu" in str(refused.body)
    await api.made("/v1/changesets", {"document": document | {"transceiver_regions": [far]}})
    targets = []
    one, other = await api.token_of("prober"), await api.token_of("prober")
    for secret in (one, one, other):
        body = (await api.get("/v1/probes/targets", token=secret)).body
        targets += ProbeTargets.model_validate(body).targets
    assert {(each.kind, each.port, each.transceiver_region) for each in targets} == {
        ("path", 3478, "eu")
    }
    assert targets[0].ufrag == targets[1].ufrag != targets[2].ufrag


async def test_the_majority_of_probers_decides(deployed: Any) -> None:
    """Two of three say down: down, and the status number rises by one for each turn."""
    secrets = {each: await deployed.token_of("prober", each) for each in "abc"}
    number = (await deployed.get("/v1/status")).body["number"]
    for prober, secret in secrets.items():
        assert await _results(deployed, secret, _report(prober, "up", "fra-1")) == 204

    async def is_(verdict: str) -> bool:
        return (await _relay(deployed, "fra-1"))["verdict"] == verdict

    await eventually(lambda: is_("up"), "the relay is up")
    assert (await deployed.get("/v1/status")).body["number"] == number + 1
    await _results(deployed, secrets["a"], _report("a", "down", "fra-1"))
    assert await is_("up")
    await _results(deployed, secrets["b"], _report("b", "down", "fra-1"))
    await eventually(lambda: is_("down"), "the relay is down")
    assert (await deployed.get("/v1/status")).body["number"] == number + 2
    assert (await _relay(deployed, "fra-2"))["verdict"] == "unknown"


async def test_agents_speak_for_their_own_relay_only(deployed: Any) -> None:
    """Load and draining reach the status; other relays and other roles are refused."""
    secret = await deployed.token_of("agent", "fra-1")
    body = {"sequence": 1, "sent_at": _now().isoformat(), "sessions": 50, "draining": True}
    path = "/v1/relays/fra-1/reports"
    assert (await deployed.call("POST", path, body, token=secret)).status == 204

    async def told() -> bool:
        relay = await _relay(deployed, "fra-1")
        return (relay["draining"], relay["sessions"], relay["load"]) == (True, 50, 0.25)

    await eventually(told, "the agent's word is in the status")
    other = "/v1/relays/fra-2/reports"
    assert (await deployed.call("POST", other, body, token=secret)).status == 403
    assert (await deployed.call("POST", path, body)).status == 403, "an admin is no agent"
    stranger = await deployed.token_of("agent", "gone")
    answer = await deployed.call("POST", "/v1/relays/gone/reports", body, token=stranger)
    assert answer.status == 404


async def test_operators_see_what_agents_report_and_when_certificates_end(deployed: Any) -> None:
    """Edges need neither."""
    agent = await deployed.token_of("agent", scope="fra-1")
    body = {"sequence": 1, "sent_at": _now().isoformat(), "cpu": 0.25, "drops_per_second": 2.0}
    path = "/v1/relays/fra-1/reports"
    assert (await deployed.call("POST", path, body, token=agent)).status == 204
    prober = await deployed.token_of("prober")
    seen = _report("a", "up", "fra-1", "fra-2")
    ends = (_now() + timedelta(days=9)).isoformat()
    endless = "9999-12-31T23:59:59Z"  # a certificate that does not expire, RFC 5280 §4.1.2.5
    seen["views"][0] |= {"certificate_ends": endless}
    seen["views"][1] |= {"family": "ipv6", "certificate_ends": ends}
    assert await _results(deployed, prober, seen) == 204
    status = (await deployed.get("/v1/status")).body
    assert {name: each["cpu"] for name, each in status["reports"].items()} == {"fra-1": 0.25}
    assert status["reports"]["fra-1"]["drops_per_second"] == 2.0
    assert [*status["certificates"]] == ["fra-1", "fra-2"]
    assert status["certificates"]["fra-1"] == endless
    assert datetime.fromisoformat(status["certificates"]["fra-2"]) == datetime.fromisoformat(ends)
    made = next(
        each
        for each in (await deployed.get("/v1/tokens")).body["items"]
        if (each["role"], each["scope"]) == ("prober", "a")
    )
    where = f"/v1/tokens/{made['id']}"
    assert (await deployed.call("DELETE", where, headers={"If-Match": "*"})).status == 204

    async def gone() -> bool:
        return not (await deployed.get("/v1/status")).body["certificates"]

    await eventually(gone, "what a deleted token reported ends with it")


async def test_old_reports_and_wrong_clocks_are_refused(deployed: Any) -> None:
    """An overtaken report is 409; a restarted agent starts its sequence again; clocks ± 5 min."""
    secret = await deployed.token_of("agent", "fra-1")
    start = _now()

    async def say(sequence: int, seconds: float) -> int:
        sent_at = (start + timedelta(seconds=seconds)).isoformat()
        body = {"sequence": sequence, "sent_at": sent_at}
        answer = await deployed.call("POST", "/v1/relays/fra-1/reports", body, token=secret)
        return int(answer.status)

    assert [await say(5, 0), await say(6, 1), await say(5, 0), await say(6, 1)] == [
        204,
        204,
        409,
        409,
    ]
    assert await say(0, 2) == 204, "a restarted agent"
    assert [await say(9, 330), await say(9, -330), await say(9, 250)] == [422, 422, 204]


async def test_an_older_probe_report_does_not_replace_a_newer_one(deployed: Any) -> None:
    """What overtook it on the way counts."""
    secret = await deployed.token_of("prober")
    newer, older = _now(), _now() - timedelta(seconds=2)
    assert await _results(deployed, secret, _report("a", "up", "fra-1", at=newer)) == 204
    assert await _results(deployed, secret, _report("a", "down", "fra-1", at=older)) == 409


async def test_a_prober_speaks_for_its_own_vantage_only(deployed: Any, database_url: str) -> None:
    """Vantages that it invents are refused by name, and all vantages of a token without a scope,
    as older releases made them.
    """
    secret = await deployed.token_of("prober", "vantage-a")
    for vantage in ("vantage-b", *(f"invented-{number}" for number in range(7))):
        body = _report(vantage, "down", "fra-1")
        answer = await deployed.call("POST", "/v1/probes/results", body, token=secret)
        assert answer.status == 403
        detail = f"This token is for vantage vantage-a, not for {vantage}."
        assert (answer.body["detail"], [*answer.rules]) == (detail, ["vantage"])
    assert (await _relay(deployed, "fra-1"))["verdict"] == "unknown"
    assert await _results(deployed, secret, _report("vantage-a", "up", "fra-1")) == 204
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE token SET scope = NULL WHERE role = 'prober'")
    await connection.close()
    other = await deployed.token_of("viewer")  # makes the control plane read tokens again
    assert (await deployed.get("/v1/status", token=other)).status == 200
    body = _report("vantage-a", "up", "fra-1")
    answer = await deployed.call("POST", "/v1/probes/results", body, token=secret)
    assert (answer.status, "names no vantage" in answer.body["detail"]) == (403, True)


async def test_what_a_deleted_token_said_ends_with_it(deployed: Any) -> None:
    """At once, in the status and in the store, whatever number and times it claimed."""
    now = _now()
    made = {}
    for name, role, scope in (("x", "agent", "fra-1"), ("v", "prober", "a")):
        body = {"name": name, "role": role, "scope": scope}
        made[role] = (await deployed.made("/v1/tokens", body)).body
    path = "/v1/relays/fra-1/reports"
    forged = {
        "sequence": 2**53 - 1,
        "sent_at": (now + timedelta(seconds=299)).isoformat(),
        "draining": True,
        "crashed": True,
    }
    endless = forged | {"stops_at": "8999-01-01T00:00:00Z"}
    refused = await deployed.call("POST", path, endless, token=made["agent"]["secret"])
    assert (refused.status, [*refused.rules]) == (422, ["stops_at"])
    day = forged | {"stops_at": (now + timedelta(hours=23)).isoformat()}
    answer = await deployed.call("POST", path, day, token=made["agent"]["secret"])
    assert answer.status == 204
    secret = made["prober"]["secret"]
    assert await _results(deployed, secret, _report("a", "down", "fra-1")) == 204

    async def is_told() -> bool:
        relay = await _relay(deployed, "fra-1")
        return (relay["crashed"], relay["verdict"], [*relay["vantages"]]) == (True, "down", ["a"])

    await eventually(is_told, "what they said is in the status")
    for each in made.values():
        assert (await deployed.delete(f"/v1/tokens/{each['id']}")).status == 204

    async def is_over() -> bool:
        relay = await _relay(deployed, "fra-1")
        said = relay["crashed"], relay["draining"], relay["stops_at"], relay["vantages"]
        return said == (False, False, None, {})

    await eventually(is_over, "it is in the status no more")
    real = {"sequence": 1, "sent_at": _now().isoformat()}
    again = await deployed.token_of("agent", "fra-1")
    assert (await deployed.call("POST", path, real, token=again)).status == 204


IMPOSSIBLE: list[Any] = [
    ("9999-12-31T00:00:00Z", "0001-01-01T00:00:00Z"),
    ("8999-12-31T00:00:00Z", "1971-01-01T00:00:00Z"),
    ("8999-12-31T00:00:00Z", "8999-12-31T00:00:00Z"),
    (None, "1971-01-01T00:00:00Z"),
    ("2026", None),
]


async def test_impossible_times_of_a_prober_end_no_evaluation(deployed: Any) -> None:
    """They are refused, also about a relay of which nobody else reports; verdicts go on."""
    secret = await deployed.token_of("prober")
    for sent_at, checked_at in IMPOSSIBLE:
        report = _report("a", "down", "fra-1")
        report["sent_at"] = sent_at or report["sent_at"]
        report["views"][0]["checked_at"] = checked_at or report["views"][0]["checked_at"]
        assert await _results(deployed, secret, report) == 422, (sent_at, checked_at)
    assert await _results(deployed, secret, _report("a", "down", "fra-1")) == 204

    async def down() -> bool:
        return bool((await _relay(deployed, "fra-1"))["verdict"] == "down")

    await eventually(down, "verdicts go on")


async def test_a_prober_whose_clock_is_off_is_heard(deployed: Any) -> None:
    """Views are moved onto our clock: an hour ahead is neither stale nor from the future."""
    secret = await deployed.token_of("prober")
    ahead = _now() + timedelta(hours=1)
    assert await _results(deployed, secret, _report("a", "down", "fra-1", at=ahead)) == 204

    async def down() -> bool:
        relay = await _relay(deployed, "fra-1")
        return relay["verdict"] == "down" and relay["since"] < (_now()).isoformat()

    await eventually(down, "its verdict counts")


async def test_a_restart_goes_on_with_the_verdicts_and_never_repeats_a_number(
    start_api: Any, database_url: str
) -> None:
    """The next run's first status has the verdict, and a higher number."""
    first = await start_api()
    relays = DOCUMENT["relays"][:1]
    await first.made("/v1/changesets", {"document": DOCUMENT | {"relays": relays}})
    secret = await first.token_of("prober")
    await _results(first, secret, _report("a", "down", "fra-1"))

    connection = await asyncpg.connect(database_url)

    async def stored() -> bool:
        return bool(await connection.fetchval("SELECT verdict FROM verdict") == "down")

    await eventually(stored, "the verdict is in the store")
    await connection.close()
    numbers = [(await first.get("/v1/status")).body["number"]]
    await first.stop()
    for _ in range(2):
        again = await start_api()
        found = await _relay(again, "fra-1")
        assert (found["verdict"], found["families"]) == ("down", {"ipv4": "down"})
        numbers.append((await again.get("/v1/status")).body["number"])
        await again.stop()
    assert numbers == sorted(set(numbers))


async def test_explain_answers_for_a_service_by_id_or_name(start_api: Any) -> None:
    """404 for an unknown service, 400 for a client that cannot be read, else what was decided."""
    asked: list[tuple[int, str, str]] = []

    class Told:
        def __call__(
            self, situation: Any, service: str, client: str, *_: Any, **__: Any
        ) -> dict[str, str]:
            if client == "nobody":
                raise ValueError("is no address")
            asked.append((situation.plan.number, service, client))
            return {"region": "fra"}

        def effects(self, *_: Any, **__: Any) -> tuple[()]:
            return ()

        changes = effects

    api = await start_api(explain=Told())
    zone = {
        "apex": "edge.example",
        "primary": "n.edge.example",
        "contact": "o.edge.example",
        "name_servers": ["n.edge.example"],
    }
    await api.made("/v1/zones", zone)
    await api.made("/v1/services", {"id": "relay", "name": "relay.edge.example"})
    for word in ("relay", "relay.edge.example", "Relay.Edge.Example."):
        answer = await api.get(f"/v1/explain?service={word}&client=192.0.2.1")
        assert (answer.status, answer.body["region"]) == (200, "fra")
    assert asked == [(2, "relay", "192.0.2.1")] * 3
    assert (await api.get("/v1/explain?service=x&client=192.0.2.1")).status == 404
    refused = await api.get("/v1/explain?service=relay&client=nobody")
    assert (refused.status, refused.rules) == (400, {"client": "is no address"})
    assert (await api.get("/v1/explain?service=relay")).status == 400
