"""Tickets and samples over HTTP: who is believed, how often, how much, and who is the client."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from firsthop_allocator.http.measurements import PREFIX_AT_ONCE
from firsthop_allocator.http.schema import MAX_SAMPLES, RaceAnswer, SamplesAnswer
from firsthop_allocator.settings import MAX_BODY, AllocatorSettings
from support.allocator_server import BEARER, DIGESTS, LOOPBACK, Running, faulty_fields, running
from support.allocator_world import BERLIN, NEW_YORK, SAO_PAULO
from support.waiting import eventually

pytestmark = pytest.mark.e2e

ORIGIN = "https://app.example"
SETTINGS = AllocatorSettings(
    token_digests=DIGESTS, trusted_proxies=LOOPBACK, cors_origins=(ORIGIN,)
)
BEACON = {
    "Content-Type": "text/plain;charset=UTF-8", "Origin": ORIGIN, "X-Forwarded-For": BERLIN,
}  # fmt: skip


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with running(SETTINGS) as made:
        yield made


async def posted(
    server: Running, path: str, body: Any, headers: dict[str, str]
) -> tuple[int, dict[str, Any], Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with server.session.post(server.url + path, data=data, headers=headers) as response:
        return response.status, await response.json(), response.headers


async def ticket(server: Running, client: str = BERLIN) -> dict[str, Any]:
    status, answer, _ = await posted(server, "/v1/races", {"client_ip": client}, BEARER)
    assert status == 201
    return answer


def report(ticket: dict[str, Any], *samples: Any, **fields: Any) -> dict[str, Any]:
    return {
        "proof": ticket["proof"],
        "samples": samples or [{"relay": ticket["relays"][0]["id"], "rtt_ms": 12.5}],
        **fields,
    }


async def sample_counts(server: Running) -> dict[str, float]:
    async with server.session.get(server.url + "/metrics") as response:
        lines = (await response.text()).splitlines()
    name = 'firsthop_client_samples_total{result="'
    found = (line.removeprefix(name).split('"} ') for line in lines if line.startswith(name))
    return {result: float(value) for result, value in found}


async def test_a_ticket_is_as_hard_to_get_as_an_allocation(server: Running) -> None:
    """By a token for any client; and it names the relays that this client would be given first."""
    assert (await posted(server, "/v1/races", {}, {}))[0] == 401
    status, answer, headers = await posted(server, "/v1/races", {"client_ip": NEW_YORK}, BEARER)
    assert status == 201
    assert headers["Cache-Control"] == "no-store"
    RaceAnswer.model_validate(answer)
    assert [each["region"] for each in answer["relays"]] == ["iad", "fra", "gru"]
    status, document, _ = await posted(server, "/v1/races", {"service": "no"}, BEARER)
    assert (status, faulty_fields(document)) == (422, {"service"})


async def test_a_beacon_of_another_origin_is_taken(server: Running) -> None:
    """Without a token and without a preflight; the page may read the answer."""
    status, answer, headers = await posted(
        server, "/v1/samples", report(await ticket(server)), BEACON
    )
    assert (status, SamplesAnswer.model_validate(answer).samples) == (202, 1)
    assert headers["Access-Control-Allow-Origin"] == ORIGIN
    assert await sample_counts(server) == {"taken": 1, "limited": 0, "overflowed": 0}


async def test_nobody_else_is_believed(server: Running) -> None:
    """Forged, foreign, or too much; each refusal names its field, and nothing is taken."""
    genuine, other = await ticket(server), await ticket(server, NEW_YORK)
    sample = {"relay": "fra-1", "rtt_ms": 3}
    far = {"relay": "fra-2", "rtt_ms": 0.5}
    for status, field, body in (
        (403, "proof", report(genuine, proof=genuine["proof"][:-1] + "_")),
        (403, "proof", report(genuine, proof="é" * 32)),
        (403, "proof", report(genuine, proof=genuine["username_fragment"])),
        (403, "proof", report(other)),
        (403, "samples/0/relay", report(genuine, {"relay": "elsewhere-1", "rtt_ms": 3})),
        (403, "samples/1/relay", report(genuine, sample, far)),
        (422, "samples/0/rtt_ms", report(genuine, {"relay": "fra-1", "rtt_ms": 0})),
        (422, "samples/0/rtt_ms", report(genuine, {"relay": "fra-1", "rtt_ms": 3001})),
        (422, "samples/0/client", report(genuine, {**sample, "client": "192.0.2.1"})),
        (422, "samples", report(genuine, sample, sample)),
        (422, "samples", report(genuine, *[sample] * (MAX_SAMPLES + 1))),
        (422, "samples", report(genuine, samples=[])),
    ):
        found, document, _ = await posted(server, "/v1/samples", body, BEACON)
        assert (found, faulty_fields(document)) == (status, {field}), body
    assert (await posted(server, "/v1/samples", b"x" * (MAX_BODY + 1), BEACON))[0] == 413
    assert (await posted(server, "/v1/samples", b"{", BEACON))[0] == 400
    assert await sample_counts(server) == {"taken": 0, "limited": 0, "overflowed": 0}
    assert (await posted(server, "/v1/samples", report(genuine), BEACON))[0] == 202


async def test_a_ticket_reports_once_and_a_network_not_for_ever(server: Running) -> None:
    """A replay is 429; other networks go on."""
    first = await ticket(server, SAO_PAULO)
    here = {**BEACON, "X-Forwarded-For": SAO_PAULO}
    assert (await posted(server, "/v1/samples", report(first), here))[0] == 202
    status, _, headers = await posted(server, "/v1/samples", report(first), here)
    assert status == 429
    assert int(headers["Retry-After"]) > 300, "by then it has expired"
    statuses = [202]
    while statuses[-1] == 202 and len(statuses) < 2 * PREFIX_AT_ONCE:
        refused = await ticket(server, SAO_PAULO)
        statuses.append((await posted(server, "/v1/samples", report(refused), here))[0])
    assert statuses[-1] == 429
    assert len(statuses) > PREFIX_AT_ONCE - 2
    elsewhere = {**BEACON, "X-Forwarded-For": NEW_YORK}
    other = await ticket(server, NEW_YORK)
    assert (await posted(server, "/v1/samples", report(other), elsewhere))[0] == 202

    async def taken() -> bool:
        return (await posted(server, "/v1/samples", report(refused), here))[0] == 202

    await eventually(taken, "a report that was refused for its network is taken later")


async def test_the_snippet_is_small_and_for_pages_of_allowed_origins(server: Running) -> None:
    """A module of another origin needs CORS; it asks nobody but the allocator."""
    async with server.session.get(server.url + "/v1/race.js", headers=BEACON) as response:
        body = await response.read()
        assert response.content_type == "text/javascript"
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert len(body) < 2000
    assert b"stun:" not in body
