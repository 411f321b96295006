"""/openapi.json (OpenAPI 3.1), made from the models that validate requests."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from firsthop_allocator.http.schema import (
    AllocationAnswer,
    AllocationBody,
    ProblemAnswer,
    RaceAnswer,
    RaceBody,
    RegionsAnswer,
    RegionsQuery,
    SamplesAnswer,
    SamplesBody,
    SessionQuery,
)
from firsthop_ice.sdp import FRAGMENT_TYPE, MEDIA_TYPE
from firsthop_steering.feed.reason_phrases import reason_phrase

_REF = "#/components/schemas/{model}"
_TOKEN = {"name": "token", "in": "path", "required": True, "schema": {"type": "string"}}
_FAULTS = (400, 401, 403, 408, 413, 415, 422, 503)


def document() -> dict[str, Any]:
    """The description of the whole interface."""
    _, definitions = models_json_schema(
        [
            (AllocationBody, "validation"),
            (AllocationAnswer, "serialization"),
            (RegionsAnswer, "serialization"),
            (RaceBody, "validation"),
            (RaceAnswer, "serialization"),
            (SamplesBody, "validation"),
            (SamplesAnswer, "serialization"),
            (ProblemAnswer, "serialization"),
        ],
        ref_template=_REF,
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Firsthop allocator",
            "version": "1",
            "description": "The relays nearest to a client, and ICE credentials for its session.",
        },
        "security": [{"token": []}, {}],
        "paths": {
            "/v1/allocations": {"post": _allocate()},
            "/v1/regions": {"get": _regions()},
            "/v1/sessions": {"post": _open_session()},
            "/v1/sessions/{token}": {"patch": _restart_session(), "delete": _end_session()},
            "/v1/races": {"post": _race()},
            "/v1/samples": {"post": _samples()},
            "/v1/race.js": {"get": _snippet()},
            "/healthz": {"get": _plain("health", "The process runs", 200)},
            "/readyz": {"get": _plain("readiness", "Ready to allocate, or why not", 200, 503)},
            "/metrics": {"get": _plain("metrics", "Prometheus metrics", 200)},
            "/openapi.json": {"get": _plain("openapi", "This document", 200)},
        },
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token with role allocator; public allocators need none.",
                }
            },
        },
    }


def _allocate() -> dict[str, Any]:
    return {
        "operationId": "allocate",
        "summary": "Relays and a credential for one session",
        "requestBody": {"content": _json("AllocationBody")},
        "responses": {
            "201": {"description": "Allocated", "content": _json("AllocationAnswer")},
            **_problems(_FAULTS),
        },
    }


def _open_session() -> dict[str, Any]:
    return {
        "operationId": "openSession",
        "summary": "Answer an offer with candidates of the relays nearest to the client (RFC 9725)",
        "parameters": _query(SessionQuery),
        "requestBody": {"required": True, "content": _sdp(MEDIA_TYPE)},
        "responses": {
            "201": {
                "description": "The answer",
                "headers": {
                    "Location": _header("The session's URL"),
                    "ETag": _header("Names the ICE session"),
                    "Link": _header('TURN servers with credentials: rel="ice-server"'),
                    "Firsthop-Route": _header("JSON: relays, transceiver, and decision"),
                },
                "content": _sdp(MEDIA_TYPE),
            },
            **_problems(_FAULTS),
        },
    }


def _restart_session() -> dict[str, Any]:
    if_match = {"name": "If-Match", "in": "header", "required": True, "schema": {"const": "*"}}
    return {
        "operationId": "restartSession",
        "summary": "Restart ICE on the same route (RFC 9725 §4.3.3); candidates are not accepted",
        "parameters": [_TOKEN, if_match, *_query(SessionQuery)],
        "requestBody": {"required": True, "content": _sdp(FRAGMENT_TYPE)},
        "responses": {
            "200": {
                "description": "The new credential, and the current relays",
                "headers": {"ETag": _header("Names the new ICE session")},
                "content": _sdp(FRAGMENT_TYPE),
            },
            **_problems((400, 401, 403, 404, 408, 409, 412, 413, 415, 422, 428, 503)),
        },
    }


def _end_session() -> dict[str, Any]:
    return {
        "operationId": "endSession",
        "summary": "End the session",
        "parameters": [_TOKEN],
        "responses": {"200": {"description": "Ended"}, **_problems((401, 404, 503))},
    }


def _regions() -> dict[str, Any]:
    return {
        "operationId": "rankRegions",
        "summary": "All regions, ranked for one client",
        "parameters": _query(RegionsQuery),
        "responses": {
            "200": {"description": "Ranked", "content": _json("RegionsAnswer")},
            **_problems((400, 401, 403, 422, 503)),
        },
    }


def _race() -> dict[str, Any]:
    return {
        "operationId": "race",
        "summary": "Relays for a browser to measure, and a credential for that",
        "requestBody": {"content": _json("RaceBody")},
        "responses": {
            "201": {"description": "A ticket", "content": _json("RaceAnswer")},
            **_problems(_FAULTS),
        },
    }


def _samples() -> dict[str, Any]:
    content = _json("SamplesBody")
    return {
        "operationId": "reportSamples",
        "summary": "Round trips that a browser measured with a ticket, whose proof it needs",
        "security": [],
        "requestBody": {"required": True, "content": content | _as("SamplesBody", "text/plain")},
        "responses": {
            "202": {"description": "Taken", "content": _json("SamplesAnswer")},
            **_problems((400, 403, 408, 413, 415, 422, 429, 503)),
        },
    }


def _snippet() -> dict[str, Any]:
    return {
        "operationId": "snippet",
        "summary": "A JavaScript module for web pages: measures relays and reports the samples",
        "security": [],
        "responses": {
            "200": {
                "description": "JavaScript",
                "content": {"text/javascript": {"schema": {"type": "string"}}},
            }
        },
    }


def _plain(name: str, summary: str, *statuses: int) -> dict[str, Any]:
    responses = {str(each): {"description": reason_phrase(each)} for each in statuses}
    return {"operationId": name, "summary": summary, "security": [], "responses": responses}


def _problems(statuses: tuple[int, ...]) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": _REF.format(model="ProblemAnswer")}}}
    return {
        str(each): {"description": reason_phrase(each), "content": content} for each in statuses
    }


def _query(model: type[BaseModel]) -> list[dict[str, Any]]:
    properties = model.model_json_schema()["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": _not_null(schema)}
        for name, schema in properties.items()
    ]


def _sdp(media_type: str) -> dict[str, Any]:
    return {media_type: {"schema": {"type": "string"}}}


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "required": True, "schema": {"type": "string"}}


def _json(model: str) -> dict[str, Any]:
    return _as(model, "application/json")


def _as(model: str, media_type: str) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": _REF.format(model=model)}}}


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a query parameter, which may be absent but is never null."""
    choices = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    return choices[0] if choices else schema
