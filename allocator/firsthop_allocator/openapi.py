"""/openapi.json (3.1), written from the models that requests are checked with."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from pydantic.json_schema import models_json_schema

from firsthop_allocator.schema import (
    AllocationAnswer,
    AllocationBody,
    ProblemAnswer,
    RegionsAnswer,
    RegionsQuery,
)

_REF = "#/components/schemas/{model}"
_FAULTS = (400, 401, 403, 408, 413, 415, 422, 503)


def document() -> dict[str, Any]:
    """The description of the whole interface."""
    _, definitions = models_json_schema(
        [
            (AllocationBody, "validation"),
            (AllocationAnswer, "serialization"),
            (RegionsAnswer, "serialization"),
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


def _regions() -> dict[str, Any]:
    properties = RegionsQuery.model_json_schema()["properties"]
    return {
        "operationId": "rankRegions",
        "summary": "All regions as they are ranked for one client",
        "parameters": [
            {"name": name, "in": "query", "required": False, "schema": _not_null(schema)}
            for name, schema in properties.items()
        ],
        "responses": {
            "200": {"description": "Ranked", "content": _json("RegionsAnswer")},
            **_problems((400, 401, 403, 422, 503)),
        },
    }


def _plain(name: str, summary: str, *statuses: int) -> dict[str, Any]:
    responses = {str(each): {"description": HTTPStatus(each).phrase} for each in statuses}
    return {"operationId": name, "summary": summary, "security": [], "responses": responses}


def _problems(statuses: tuple[int, ...]) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": _REF.format(model="ProblemAnswer")}}}
    return {
        str(each): {"description": HTTPStatus(each).phrase, "content": content} for each in statuses
    }


def _json(model: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _REF.format(model=model)}}}


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a query parameter, which is there or not but never null."""
    choices = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    return choices[0] if choices else schema
