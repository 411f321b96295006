"""The allocator over real sockets: what it answers, and that nobody can break or fool it."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import sys
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from firsthop_allocator.allocations.state import Holder
from firsthop_allocator.http.app import create_app
from firsthop_allocator.http.schema import AllocationAnswer, ProblemAnswer, RegionsAnswer
from firsthop_allocator.settings import MAX_BODY, AllocatorSettings
from firsthop_ice.ufrag import Decoded, decode
from firsthop_steering.feed.exploration_targets import ExplorationTarget, ExplorationTargets
from firsthop_steering.feed.reason_phrases import reason_phrase
from firsthop_steering.feed.snapshot import Latency
from firsthop_steering.rtt.exploration import MAX_GROUP_SHARE
from support.allocator_server import (
    BEARER,
    DIGESTS,
    HEAD,
    LOOPBACK,
    SETTINGS,
    TOKEN,
    faulty_fields,
    running,
)
from support.allocator_world import BERLIN, KEYS, NOWHERE, RELAYS, SAO_PAULO, state_of
from support.worlds import NOW, status_of

pytestmark = pytest.mark.e2e


async def test_an_allocation() -> None:
    """201, never cached, as documented; its credential decodes to the region it names."""
    async with running() as server:
        status, answer, headers = await server.post({"client_ip": BERLIN})
        assert status == 201
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Type"] == "application/json"
        assert len(headers["X-Request-Id"]) == 16
        AllocationAnswer.model_validate(answer)
        assert [each["region"] for each in answer["relays"]] == ["fra", "fra", "iad"]
        fragment = answer["ice_parameters"]["username_fragment"]
        decoded = decode(fragment, KEYS.routes, now=NOW)
        assert isinstance(decoded, Decoded)
        assert decoded.region == {"eu": 7, "us": 300}[answer["transceiver_region"]]
        again = (await server.post({"client_ip": BERLIN}))[1]
        assert again["id"] != answer["id"]
        assert again["ice_parameters"] != answer["ice_parameters"]


async def test_curl_without_a_content_type_is_welcome() -> None:
    """`curl -d` says x-www-form-urlencoded; the body is JSON all the same."""
    async with running() as server:
        form = {**BEARER, "Content-Type": "application/x-www-form-urlencoded"}
        assert (await server.post({"client_ip": BERLIN}, form))[0] == 201
        status, answer, _ = await server.post(b"")
        assert (status, answer["client"]["source"]) == (201, "peer")


async def test_an_answer_moves_with_the_view() -> None:
    """One assignment later the dead region is answered with no more."""
    async with running() as server:
        before = (await server.post({"client_ip": BERLIN}))[1]
        server.holder.state = state_of(status_of(number=8, fra_1="down", fra_2="down"))
        after = (await server.post({"client_ip": BERLIN}))[1]
        assert (before["relays"][0]["region"], after["relays"][0]["region"]) == ("fra", "iad")
        assert (before["decision"]["status"], after["decision"]["status"]) == (7, 8)


@pytest.mark.parametrize(
    ("public", "headers", "body", "status"),
    [
        (False, {}, {}, 401),
        (False, {"Authorization": "Bearer wrong"}, {"client_ip": BERLIN}, 401),
        (True, {"Authorization": "Bearer wrong"}, {}, 401),
        (True, {}, {}, 201),
        (True, {}, {"client_ip": BERLIN}, 403),
        (True, BEARER, {"client_ip": BERLIN}, 201),
    ],
)
async def test_who_may_ask(
    public: bool, headers: dict[str, str], body: dict[str, Any], status: int
) -> None:
    """Both routes by one rule; a 401 says how, a 403 which field."""
    settings = AllocatorSettings(token_digests=DIGESTS, public=public)
    async with running(settings) as server:
        said, document, fields = await server.post(body, headers)
        assert said == status
        if status == 401:
            assert fields["WWW-Authenticate"].startswith("Bearer realm=")
        if status == 403:
            assert faulty_fields(document) == {"client_ip"}
        query = "?client_ip=" + body["client_ip"] if body else ""
        assert (await server.get(f"/v1/regions{query}", headers))[0] == (
            200 if status == 201 else status
        )


async def test_refusals_are_problem_documents() -> None:
    """RFC 9457, with field and rule, for every way to be wrong."""
    huge = b'{"service":"' + b"x" * MAX_BODY + b'"}'
    wrong: list[tuple[Any, dict[str, str], int, set[str]]] = [
        (b"{", {}, 400, set()),
        (b'{"ttl":60,"ttl":60}', {}, 400, {"ttl"}),
        ({"ttl": True}, {}, 422, {"ttl"}),
        ({"client_ip": "fe80::1%eth0"}, {}, 422, {"client_ip"}),
        ({"service": "unheard-of"}, {}, 422, {"service"}),
        ({"transceiver_region": "mars"}, {}, 422, {"transceiver_region"}),
        ({"exclude_relays": [f"{r}-{n}" for r in ("fra", "iad", "gru") for n in (1, 2)]},
         {}, 422, {"exclude_relays"}),
        ({"pwd": "x"}, {}, 422, {"pwd"}),
        (huge, {}, 413, set()),
        (gzip.compress(b"{}"), {"Content-Encoding": "gzip"}, 415, {"Content-Encoding"}),
    ]  # fmt: skip
    async with running() as server:
        for body, headers, status, fields in wrong:
            said, document, sent = await server.post(body, {**BEARER, **headers})
            assert said == status, document
            assert sent["Content-Type"] == "application/problem+json"
            assert sent["Cache-Control"] == "no-store"
            ProblemAnswer.model_validate(document)
            assert document["status"] == status
            assert document["title"] == reason_phrase(status)
            assert document["request_id"] == sent["X-Request-Id"]
            assert document["type"].startswith("urn:firsthop:problem:")
            assert {each["field"] for each in document.get("errors", ())} == fields
        assert (await server.get("/v1/nothing"))[0] == 404
        status, document, sent = await server.get("/v1/allocations")
        assert (status, document["status"], sent["Allow"]) == (405, 405, "POST")


async def test_our_own_refusals_ask_to_come_back() -> None:
    """503 with Retry-After where no transceiver region takes sessions."""
    async with running() as server:
        server.holder.state = state_of(transceivers=[])
        status, document, headers = await server.post({"client_ip": BERLIN})
        assert status == 503
        assert int(headers["Retry-After"]) > 0
        assert document["type"].endswith(":no-transceiver-region")


async def test_a_fault_of_ours_says_nothing_of_its_cause() -> None:
    """500 as a problem document; the text of the exception stays in the log."""

    def broken(_: int) -> bytes:
        raise RuntimeError("secret of the house")

    app = create_app(Holder(state_of()), SETTINGS, entropy=broken)
    async with TestClient(TestServer(app)) as client:
        response = await client.post("/v1/allocations", json={}, headers=BEARER)
        assert response.status == 500
        assert response.content_type == "application/problem+json"
        assert "secret" not in await response.text()


async def test_readiness_and_health() -> None:
    """Alive at once; ready with the first snapshot, and then it says how old that is."""
    async with running(ready=False) as server:
        assert (await server.get("/healthz", {}))[0] == 200
        status, said, _ = await server.get("/readyz", {})
        assert (status, said["ready"]) == (503, False)
        assert "snapshot" in said["reason"]
        status, document, headers = await server.post({"client_ip": BERLIN})
        assert (status, document["type"]) == (503, "urn:firsthop:problem:not-ready")
        assert "Retry-After" in headers
        server.holder.state = state_of()
        status, said, _ = await server.get("/readyz", {})
        assert (status, said["ready"]) == (200, True)
        assert (said["plan"]["number"], said["status"]["number"]) == (41, 7)
        assert said["plan"]["age_s"] >= 0


async def test_the_share_explores_and_is_counted() -> None:
    """Nobody before the share is earned; then one, which says what it carries."""
    gain = {"iad": 5.0}
    promise = ExplorationTarget(rate=MAX_GROUP_SHARE, gain_ms=gain)
    explore = ExplorationTargets(share=0.2, places={"52.5000,13.4000": promise})
    latency = Latency(number=1, lineage="test", created_at=NOW, explore=explore)
    near = [{**each, "region": "fra"} if each["region"] == "gru" else each for each in RELAYS]
    async with running() as server:
        server.holder.state = state_of(latency=latency, relays=near)
        bodies = [(await server.post({"client_ip": BERLIN}))[1] for _ in range(200)]
        explored = [each["decision"]["explored"] for each in bodies]
        assert not any(explored[:5])
        assert 0 < explored.count(["iad"]) <= 0.2 * len(bodies)
        assert explored.count([]) + explored.count(["iad"]) == len(bodies)
        regions = {tuple(each["region"] for each in body["relays"]) for body in bodies}
        assert regions == {("fra", "fra", "fra"), ("fra", "fra", "fra", "iad")}
        async with server.session.get(f"{server.url}/metrics") as response:
            text = await response.text()
        line = 'firsthop_allocations_explored_total{region="iad",service="relay"}'
        assert f"{line} {explored.count(['iad']):.1f}" in text


async def test_metrics() -> None:
    """Counted by service, region and result; no client and no unknown path is a label."""
    async with running() as server:
        for client in (BERLIN, BERLIN, SAO_PAULO):
            await server.post({"client_ip": client})
        await server.post({"service": "unheard-of"})
        await server.get("/v1/" + "x" * 50)
        async with server.session.get(f"{server.url}/metrics") as response:
            text = await response.text()
        samples = {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        assert samples["firsthop_allocations_total", "fra", "allocated", "relay"] == 2
        assert samples["firsthop_allocations_total", "gru", "allocated", "relay"] == 1
        assert samples["firsthop_allocations_total", "", "unknown_service", ""] == 1
        assert samples["firsthop_allocator_requests_total", "/v1/allocations", "201"] == 3
        assert samples["firsthop_allocator_requests_total", "other", "404"] == 1
        assert samples["firsthop_allocation_duration_seconds_count",] == 4
        assert ("firsthop_snapshot_age_seconds", "plan") in samples
        assert BERLIN not in text
        assert "xxx" not in text


async def test_regions_are_ranked_for_the_caller() -> None:
    """Nearest first, one chosen, relays with their state; unlocated callers have no distance."""
    async with running() as server:
        server.holder.state = state_of(status_of(fra_1="down"))
        status, answer, headers = await server.get(f"/v1/regions?client_ip={SAO_PAULO}")
        assert (status, headers["Cache-Control"]) == (200, "no-store")
        RegionsAnswer.model_validate(answer)
        assert [each["id"] for each in answer["regions"]] == ["gru", "iad", "fra"]
        assert [each["chosen"] for each in answer["regions"]] == [True, False, False]
        fra = answer["regions"][2]
        assert {each["id"]: (each["verdict"], each["answers"]) for each in fra["relays"]} == {
            "fra-1": ("down", False), "fra-2": ("unknown", True),
        }  # fmt: skip
        lost = (await server.get(f"/v1/regions?service=relay&client_ip={NOWHERE}"))[1]
        assert {each["distance_km"] for each in lost["regions"]} == {None}
        assert {each["rtt_source"] for each in lost["regions"]} == {"unlocated"}
        for query, expected in (("?service=x", 422), ("?a=b", 422), ("?service=a&service=b", 400)):
            assert (await server.get(f"/v1/regions{query}"))[0] == expected


async def test_openapi_describes_what_is_served() -> None:
    """3.1, and every path in it exists."""
    async with running() as server:
        status, document, _ = await server.get("/openapi.json", {})
        assert (status, document["openapi"]) == (200, "3.1.0")
        for path, operations in document["paths"].items():
            for method in operations:
                url = server.url + path.replace("{token}", "x")
                async with server.session.request(method, url) as response:
                    assert response.status not in (404, 405)


async def test_proxies_are_believed_and_strangers_are_not() -> None:
    """The socket decides whose words count; several field lines are one list."""
    trusting = AllocatorSettings(public=True, trusted_proxies=LOOPBACK)
    for settings, ip, source in (
        (trusting, SAO_PAULO, "x-forwarded-for"),
        (AllocatorSettings(public=True), "127.0.0.1", "peer"),
    ):
        async with running(settings) as server:
            headers = {"X-Forwarded-For": f"{BERLIN}, {SAO_PAULO}"}
            client = (await server.post({}, headers))[1]["client"]
            assert (client["ip"], client["source"]) == (ip, source)
    async with running(trusting) as server:
        for headers in ({"X-Forwarded-For": "unknown"}, {"Forwarded": 'for="'}):
            status, document, _ = await server.post({}, headers)
            assert status == 400
            assert faulty_fields(document) == {next(iter(headers)).lower()}
        said = await server.raw(
            b"POST /v1/allocations HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"X-Forwarded-For: 10.1.1.1\r\nx-forwarded-for: 30.1.1.1\r\nContent-Length: 0\r\n\r\n",
            whole=True,
        )
        assert b'"ip":"30.1.1.1"' in said


async def test_ipv6_and_mapped_peers() -> None:
    """A dual-stack socket's ::ffff:127.0.0.1 is 127.0.0.1."""
    listen = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    async with running(AllocatorSettings(public=True), listen=listen) as server:
        assert (await server.post({}, {}))[1]["client"]["ip"] == "127.0.0.1"
        async with server.session.post(f"http://[::1]:{server.port}/v1/allocations") as response:
            assert (await response.json())["client"]["ip"] == "::1"


async def test_browsers_are_told_who_may_read() -> None:
    """Preflight, answers and refusals alike, for the origins that are named."""
    settings = AllocatorSettings(public=True, cors_origins=("https://app.example",))
    async with running(settings) as server:
        url = f"{server.url}/v1/allocations"
        asking = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
        async with server.session.options(url, headers=asking) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
            assert "POST" in response.headers["Access-Control-Allow-Methods"]
            assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
        for body in ({}, {"ttl": -1}):
            headers = (await server.post(body, {"Origin": "https://app.example"}))[2]
            assert headers["Access-Control-Allow-Origin"] == "https://app.example"
            headers = (await server.post(body, {"Origin": "https://evil.example"}))[2]
            assert "Access-Control-Allow-Origin" not in headers
            assert headers["Vary"] == "Origin"


async def test_request_ids_are_taken_over_when_they_are_plain() -> None:
    """A tracer's id comes back; anything that could spoil a log line does not."""
    async with running() as server:
        headers = (await server.post({}, {**BEARER, "X-Request-Id": "trace-0001"}))[2]
        assert headers["X-Request-Id"] == "trace-0001"
        for odd in ("x", "a" * 65, "trace 0001", "{trace-0001}", "трасса-0001"):
            headers = (await server.post({}, {**BEARER, "X-Request-Id": odd}))[2]
            assert headers["X-Request-Id"] != odd


async def test_stopping_lets_requests_end() -> None:
    """A request whose body is still to come is answered; then nobody listens any more."""
    async with running() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            HEAD + b"Content-Length: 2\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n"
        )
        assert b" 100 " in await reader.readline()
        assert await reader.readline() == b"\r\n"
        server.stop.set()
        writer.write(b"{}")
        assert b" 201 " in await reader.readline()
        await server.task
        with pytest.raises(OSError):  # noqa: PT011 - whatever the kernel calls it
            await asyncio.open_connection("127.0.0.1", server.port)
        writer.close()


async def test_the_command_prints_an_allocation_or_says_why_not() -> None:
    """`firsthop allocate` against a real server, as a process of its own."""

    async def command(*arguments: str) -> tuple[int, bytes, bytes]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "firsthop", "allocate", "--url", server.url, *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        return process.returncode or 0, out, err

    async with running() as server:
        code, out, _ = await command("--client", SAO_PAULO, "--token", TOKEN, "--ttl", "60")
        assert code == 0
        assert json.loads(out)["relays"][0]["region"] == "gru"
        code, out, err = await command("--client", "nonsense", "--token", TOKEN)
        assert (code, out) == (1, b"")
        assert b"client_ip" in err
        code, _, err = await command("--client", BERLIN)
        assert code == 1
        assert b"401" in err
