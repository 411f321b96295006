"""Every endpoint, driven from its own description with nonsense: refused with a problem, never 500.

And the description itself: valid, complete, and true of the answers.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import zlib
from typing import Any
from urllib.parse import quote, urlencode

import jsonschema
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firsthop.controlplane.explaining import Explainer
from firsthop_controlplane.access import call_budgets
from firsthop_controlplane.leader.peers import replica_secret
from firsthop_steering.feed.reason_phrases import reason_phrase
from support.geodata import compiled_geodata
from support.placed import document_of
from support.schemas import Schemas

pytestmark = pytest.mark.database

MAX_ANSWER_S = 30
"""Only distinguishes an answer that never comes from a slow machine."""
PROBLEM_KEYS = {"type", "title", "status", "detail"}
BODIES: list[bytes] = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"1",
    b'"x"',
    b"{}",
    b"\xff\xfe",
    b'{"id": "\xc3\x28"}',
    b'{"id": "a", "id": "b"}',
    b'{"id": "a\\u0000b"}',
    b'{"id": "\\ud800"}',
    b'{"id": NaN}',
    b'{"id": -Infinity}',
    b'{"weight": 1e999}',
    b'{"weight": ' + b"9" * 400 + b"}",
    b'{"weight": ' + b"9" * 10_000 + b"}",
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    b"[" * 100_000,
    b"\xef\xbb\xbf{}",
    b'{"id": "' + b"a" * 100_000 + b'"}',
    b'{"x": ' + b" " * 2_000_000 + b"1}",
]
REFUSED = (400, 404, 413, 415, 422, 428)
ETAGS = ['"1"', "*", '""', "W/x", '"1', "x" * 5000, '"' + "\t," * 500]
TYPES = ["application/json; charset=utf-16", "text/plain", "application/xml", ""]
WORDS = ["x", "%00", "%ff", "..%2f", "a%20b", "9" * 30, "%F0%9F%92%A9", "-1", "0", "A" * 300, "'--"]
QUERIES = [
    *("limit=x", "limit=0", "cursor=%00", "cursor=%ff", "nope=1", "limit=1&limit=2"),
    *("service=%00&client=1", "service=x&client=%ff", "revision=" + "9" * 40),
]
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**53 - 1, -0.0, 1e308, 5e-324, "", " ", "x", "fra", ".",
    "a" * 300, "'; DROP TABLE region; --", "\u202e", "fe80::1%eth0", "::ffff:1.2.3.4", "1.2.3.4",
    "1.2.3.4/8", "10.0.0.0/8", "::/0", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
    "2030-02-30", [], [None], ["x"] * 20, {}, {"x": 1}, [[]], "edge.example.", "*.edge.example",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _ample_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """One token sends more nonsense here than it may elsewhere."""
    monkeypatch.setattr(call_budgets, "BURST", 10**9)


def _problem(answer: Any, told: object) -> None:
    """A 4xx or 503 that says so as RFC 9457 asks."""
    assert answer.status < 500 or answer.status == 501, (told, answer)
    if answer.status >= 400:
        assert answer.headers["Content-Type"].startswith("application/problem+json"), told
        assert answer.body.keys() >= PROBLEM_KEYS, told
        assert answer.body["status"] == answer.status, told
        assert answer.body["title"] == reason_phrase(answer.status), told


async def _operations(api: Any) -> list[tuple[str, str, dict[str, Any]]]:
    paths = (await api.get("/openapi.json")).body["paths"]
    return [
        (method.upper(), path, operation)
        for path, methods in paths.items()
        for method, operation in methods.items()
        if path != "/v1/snapshots/stream"
    ]


def _path(path: str, word: str) -> str:
    for name in ("zone", "id", "number"):
        path = path.replace("{" + name + "}", word)
    return path


class Tokens:
    """For each operation a token that may call it, so that its body is really read."""

    def __init__(self, api: Any) -> None:
        self._api = api
        self._secrets: dict[str, str] = {}

    async def of(self, operation: dict[str, Any]) -> str:
        roles = operation.get("description", "Roles: admin.")
        if "replica" in roles and "admin" not in roles:
            return replica_secret(bytes.fromhex((self._api.state_dir / "master.key").read_text()))
        scopes = {"prober": "x", "agent": "x", "edge": None, "transceiver": "x"}
        for role, scope in scopes.items():
            if role in roles and "admin" not in roles:
                if role not in self._secrets:
                    self._secrets[role] = await self._api.token_of(role, scope)
                return self._secrets[role]
        return str(self._api.token)


async def test_bodies_that_cannot_be_read(api: Any) -> None:
    """400, 413, 415 or 422, whatever the endpoint."""
    tokens = Tokens(api)
    for method, path, operation in await _operations(api):
        if "requestBody" not in operation:
            continue
        token, where = await tokens.of(operation), _path(path, "x")
        for body in BODIES:
            answer = await api.call(method, where, data=body, token=token)
            told = (method, path, body[:40])
            _problem(answer, told)
            accepted = body == b"{}" and path in ("/v1/keys", "/v1/simulate")
            assert accepted or answer.status in REFUSED, (told, answer)
        for media in TYPES:
            headers = {"Content-Type": media}
            answer = await api.call(method, where, data=b"{}", headers=headers, token=token)
            assert answer.status == 415, (method, path, media, answer)


class Fuzzed:
    """A control plane with a document, and calls of all its operations that are mostly right."""

    WORDS = ("fra", "iad", "fra-1", "iad-1", "relay", "edge.example.", "x", "eu-1", "o")

    def __init__(self, api: Any, document: dict[str, Any], operations: list[Any]) -> None:
        self.api = api
        self.tokens = Tokens(api)
        self._schemas = Schemas(document, self.WORDS)
        self.operations = [each for each in operations if each[:2] != ("DELETE", "/v1/tokens")]

    async def state(self) -> tuple[int, Any]:
        """The newest revision's number, and the document."""
        (newest,) = (await self.api.get("/v1/revisions?limit=1")).body["items"]
        return newest["number"], (await self.api.get("/v1/document")).body

    def request(self, data: st.DataObject, path: str, operation: dict[str, Any]) -> dict[str, Any]:
        """Path, header fields and body of one call."""
        words = st.sampled_from([*self.WORDS, *WORDS, "1", "2"])
        query = {
            each["name"]: data.draw(words | self._schemas.values(each["schema"]).map(str))
            for each in operation.get("parameters", ())
            if each["in"] == "query" and each["name"] != "wait" and data.draw(st.booleans())
        }
        path = re.sub(r"\{\w+\}", lambda _: data.draw(words), path)
        sent: dict[str, Any] = {
            "path": path + ("?" + urlencode(query) if query else ""),
            "headers": {"If-Match": data.draw(st.sampled_from(["*", "*", *ETAGS]))},
        }
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            sent["json"] = data.draw(self._schemas.values(schema))
        return sent


@pytest_asyncio.fixture(name="fuzzed")
async def fuzzed_fixture(start_api: Any) -> Fuzzed:
    """Regions fra and iad with a relay each, a service, and a transceiver region."""
    api = await start_api(explain=Explainer(None, None, compiled_geodata()))
    document = document_of({"fra": (50.1, 8.7), "iad": (39.0, -77.5)})
    document["transceiver_regions"] = [{"id": "x", "latitude": 50, "longitude": 8}]
    await api.made("/v1/changesets", {"document": document})
    return Fuzzed(api, (await api.get("/openapi.json")).body, await _operations(api))


@pytest.mark.fuzz
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_any_call_is_made_whole_or_refused(fuzzed: Fuzzed, data: st.DataObject) -> None:
    """With values of its schema and others: never 500, never long; what is refused changes nothing,
    and what is accepted is at most one revision."""
    method, path, operation = data.draw(st.sampled_from(fuzzed.operations))
    sent = fuzzed.request(data, path, operation)
    token = await fuzzed.tokens.of(operation)
    before = await fuzzed.state()
    async with asyncio.timeout(MAX_ANSWER_S):
        answer = await fuzzed.api.call(method, token=token, **sent)
    _problem(answer, (method, sent))
    after = await fuzzed.state()
    if answer.status >= 400:
        assert after == before, (method, sent, answer)
    else:
        assert after[0] - before[0] == (after[1] != before[1]), (method, sent, answer)


async def test_mutated_documents(api: Any) -> None:
    """A right document with one value replaced: accepted and exported alike, or refused."""
    chance = random.Random(7)
    good: dict[str, Any] = {
        "regions": [{"id": "fra", "latitude": 50.11, "longitude": 8.68, "bias_ms": -1.5}],
        "relays": [{"id": "fra-1", "region": "fra", "ipv4": "127.0.10.1", "ipv6": "2001:db8::1"}],
        "transceiver_regions": [{"id": "eu", "latitude": 50, "longitude": 8, "capacity": 9}],
        "transceivers": [{"id": "eu-1", "region": "eu", "host": "127.0.20.1", "port": 4000}],
        "zones": [{
            "apex": "edge.example.", "primary": "n.edge.example.", "contact": "o.edge.example.",
            "name_servers": ["n.edge.example."],
            "records": [{"owner": "t.edge.example.", "type": "TXT", "rdata": '"x"'}],
        }],
        "services": [{"id": "relay", "name": "relay.edge.example.", "fallback": ["192.0.2.1"]}],
        "overrides": [{"id": "o", "cidr": "10.0.0.0/8", "regions": ["fra"], "mode": "only",
                       "expires_at": "2030-01-01T00:00:00Z"}],
    }  # fmt: skip
    accepted = 0
    for _ in range(120):
        document = json.loads(json.dumps(good))
        thing = chance.choice(document[chance.choice(list(document))])
        thing[chance.choice(list(thing))] = chance.choice(VALUES)
        answer = await api.call("POST", "/v1/changesets", {"document": document})
        _problem(answer, thing)
        accepted += answer.status < 300
        if answer.status < 300:
            exported = (await api.get("/v1/document")).body
            again = await api.call("POST", "/v1/changesets", {"document": exported})
            assert (again.status, again.body["changes"]) == (200, []), thing
        else:
            assert answer.status == 422, (thing, answer)
            assert answer.body["errors"], thing
    assert 5 < accepted < 115, "the mutations are neither all right nor all wrong"


async def test_paths_queries_and_methods_that_are_not_there(api: Any) -> None:
    """404, 405 with Allow, 400 for queries; as problems, with the request's id."""
    chance = random.Random(20260102)
    for method, path, _ in await _operations(api):
        for word in chance.sample(WORDS, 4):
            headers = {"If-Match": '"1"'}
            answer = await api.call(method, _path(path, word), {}, headers=headers)
            _problem(answer, (method, path, word))
        for query in chance.sample(QUERIES, 4):
            answer = await api.call("GET", _path(path, "x") + "?" + query)
            _problem(answer, (path, query))
    for method in ("PUT", "TRACE", "OPTIONS"):
        answer = await api.call(method, "/v1/regions")
        assert (answer.status, answer.body["status"]) == (405, 405)
        assert "POST" in answer.headers["Allow"]
    answer = await api.get("/v2/" + quote("höhe"), headers={"X-Request-Id": "abc-1"})
    assert (answer.status, answer.body["request_id"]) == (404, "abc-1")
    assert answer.headers["X-Request-Id"] == "abc-1"


async def test_a_small_body_that_unpacks_to_a_large_one_is_refused(api: Any) -> None:
    """The limit is on what would have to be held."""
    bomb = zlib.compress(b'{"id": "' + b"a" * 50_000_000 + b'"}', 9)
    headers = {"Content-Encoding": "deflate"}
    answer = await api.call("POST", "/v1/regions", data=bomb, headers=headers)
    assert answer.status == 413
    headers = {"Content-Encoding": "deflate"}
    answer = await api.call("POST", "/v1/regions", data=b"not deflated", headers=headers)
    assert answer.status == 400


async def test_bytes_that_are_no_http(api: Any) -> None:
    """The connection ends, the server lives."""
    host, port = api.url.removeprefix("http://").split(":")
    for text in (
        b"\0\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/regions HTTP/1.1\r\n" * 3,
    ):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(text)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 60)
        writer.close()
    assert (await api.get("/healthz")).status == 200


async def test_the_description_is_valid_complete_and_true(api: Any) -> None:
    """OpenAPI 3.1: every reference resolves, every schema is a schema, every answer fits."""
    document = (await api.get("/openapi.json")).body
    assert document["openapi"] == "3.1.0"
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        _ = _resolved(document, {"$ref": f"#/components/schemas/{name}"})
    names = [operation["operationId"] for _, _, operation in await _operations(api)]
    assert len(names) == len(set(names)) > 50
    await api.made("/v1/regions", {"id": "fra", "latitude": 1, "longitude": 2})
    await api.made("/v1/relays", {"id": "x", "region": "fra", "ipv6": "2001:db8::1"})
    seen = 0
    for method, path, operation in await _operations(api):
        word = "fra" if "regions" in path else "x"
        if method != "GET" or path == "/v1/revisions/{number}" or "zone" in path:
            continue
        answer = await api.get(_path(path, word))
        told = operation["responses"].get(str(answer.status))
        assert told is not None, (path, answer)
        media = answer.headers["Content-Type"].partition(";")[0]
        schema = _resolved(document, told["content"][media]["schema"])
        if media.endswith("json"):
            jsonschema.validate(answer.body, schema, cls=jsonschema.Draft202012Validator)
            seen += 1
    assert seen > 20


def _resolved(document: dict[str, Any], schema: Any) -> Any:
    """The schema with every reference replaced by what it points at; KeyError if it is nothing."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            target: Any = document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            return _resolved(document, target)
        return {key: _resolved(document, value) for key, value in schema.items()}
    return [_resolved(document, each) for each in schema] if isinstance(schema, list) else schema
