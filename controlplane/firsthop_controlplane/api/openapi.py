"""Generates the OpenAPI 3.1 document from the operations and models that serve the requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from firsthop_controlplane.api.operations import Operation, QueryParameters
from firsthop_controlplane.api.problems import MEDIA_TYPE, SCHEMA
from firsthop_steering.feed.reason_phrases import reason_phrase

_REFERENCE = "#/components/schemas/{model}"
_PATH_PART = re.compile(r"\{(\w+)\}")
Json = dict[str, Any]


def openapi(operations: Sequence[Operation], version: str) -> Json:
    """The whole document."""
    models: list[tuple[type[BaseModel], JsonSchemaMode]] = []
    for operation in operations:
        for model in (operation.body, operation.answer):
            if isinstance(model, type) and (model, "validation") not in models:
                models.append((model, "validation"))
    names, shared = models_json_schema(models, ref_template=_REFERENCE)
    schemas: Json = {**shared.get("$defs", {}), "Problem": dict(SCHEMA)}
    references: dict[Any, Json] = {model: schema for (model, _), schema in names.items()}
    paths: Json = {}
    for operation in operations:
        entry = _operation(operation, references, schemas)
        paths.setdefault(operation.path, {})[operation.method.lower()] = entry
    return {
        "openapi": "3.1.0",
        "info": {"title": "Firsthop control plane", "version": version},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation, references: Mapping[Any, Json], schemas: Json) -> Json:
    entry: Json = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": list(_parameters(operation)),
        "responses": _responses(operation, references),
    }
    if operation.roles is not None:
        entry["security"] = [{"token": []}]
        entry["description"] = f"Roles: {', '.join(sorted(operation.roles))}."
    if operation.body is not None:
        schema = references[operation.body]
        if operation.partial:
            schema = _partial(schema, schemas)
        entry["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return entry


def _partial(reference: Json, schemas: Json) -> Json:
    """A separate schema in which every field of the model is optional."""
    name = reference["$ref"].rpartition("/")[2]
    properties = {
        field: {key: value for key, value in schema.items() if key != "default"}
        for field, schema in schemas[name]["properties"].items()
    }
    whole = {key: value for key, value in schemas[name].items() if key != "required"}
    schemas[f"{name}Patch"] = whole | {"properties": properties, "title": f"{name}Patch"}
    return {"$ref": f"#/components/schemas/{name}Patch"}


def _parameters(operation: Operation) -> Iterable[Json]:
    for name in _PATH_PART.findall(operation.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    yield from _query_parameters(operation.query)
    if operation.if_match:
        yield {
            "name": "If-Match",
            "in": "header",
            "required": operation.if_match == "must",
            "description": "The ETag of the version that was read.",
            "schema": {"type": "string"},
        }


def _query_parameters(model: type[QueryParameters]) -> Iterable[Json]:
    schema = model.model_json_schema()
    for name, field in schema.get("properties", {}).items():
        parameter = {"name": name, "in": "query", "schema": field}
        parameter["required"] = name in schema.get("required", [])
        if "description" in field:
            parameter["description"] = field["description"]
        yield parameter


def _responses(operation: Operation, references: Mapping[Any, Json]) -> Json:
    success: Json = {"description": reason_phrase(operation.status)}
    if operation.etag:
        success["headers"] = {"ETag": {"schema": {"type": "string"}}}
    if operation.answer is not None:
        schema = _answer(operation, references)
        success["content"] = {operation.media_type: {"schema": schema}}
    responses: Json = {str(operation.status): success}
    if operation.status == 201 and operation.name in ("changeset", "restore"):
        responses["200"] = success | {"description": "Nothing was changed"}
    refused = {400, *operation.refusals}
    if operation.roles is not None:
        refused |= {401, 403, 503}
    if operation.body is not None:
        refused |= {413, 415, 422}
    if operation.if_match:
        refused |= {412, 428} if operation.if_match == "must" else {412}
    for status in sorted(refused):
        responses[str(status)] = _refusal(operation, status)
    return responses


def _answer(operation: Operation, references: Mapping[Any, Json]) -> Json:
    if not isinstance(operation.answer, type):
        return dict(operation.answer or {})
    item = references[operation.answer]
    if not operation.listed:
        return item
    return {
        "type": "object",
        "required": ["items", "next_cursor"],
        "properties": {
            "items": {"type": "array", "items": item},
            "next_cursor": {"type": ["string", "null"]},
        },
    }


def _refusal(operation: Operation, status: int) -> Json:
    """A problem document; but readyz answers 503 in the same form as 200."""
    if operation.name == "readyz" and isinstance(operation.answer, Mapping) and status == 503:
        content: Json = {operation.media_type: {"schema": dict(operation.answer)}}
    else:
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": reason_phrase(status), "content": content}
