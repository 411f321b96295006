"""Values drawn from the schemas of an OpenAPI document, with something else here and there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

MAX_DEPTH = 6
"""Depth from which optional values are left out, because schemas may contain themselves."""
NUMBERS = [0, -1, 1, 90, -180.5, 65535, 65536, 2**31, 2**53 - 1, 2**63, -0.0, 1e308, 5e-324, True]
TEXTS = [
    *("", " ", ".", "x", "a" * 300, "'; DROP TABLE region; --", "\u202e", "\x1b[31m", "a\nb"),
    *("1.2.3.4", "127.0.10.1", "10.0.0.0/8", "::/0", "fe80::1%eth0", "::ffff:1.2.3.4", "DE"),
    *("2030-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"),
    *("edge.example.", "relay.edge.example.", "*.edge.example.", "A", "TXT", '"x"', "192.0.2.1"),
]
json_values: SearchStrategy[Any] = st.recursive(
    st.none() | st.sampled_from(NUMBERS) | st.sampled_from(TEXTS) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


class Schemas:
    """The schemas of an OpenAPI document; `words` are texts that name what exists."""

    def __init__(self, document: dict[str, Any], words: Sequence[str]) -> None:
        self._named = document["components"]["schemas"]
        self._words = st.sampled_from([*words, *TEXTS])

    def values(self, schema: dict[str, Any], depth: int = 0) -> SearchStrategy[Any]:
        """Values of a schema; about one in sixteen is anything else."""
        return st.integers(0, 15).flatmap(
            lambda chance: json_values if chance == 0 else self._right(schema, depth)
        )

    def _right(self, schema: dict[str, Any], depth: int) -> SearchStrategy[Any]:
        if "$ref" in schema:
            return self._right(self._named[schema["$ref"].rpartition("/")[2]], depth)
        for several in ("anyOf", "oneOf", "allOf"):
            if several in schema:
                return st.one_of([self.values(each, depth) for each in schema[several]])
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        if "const" in schema:
            return st.just(schema["const"])
        return self._of_type(schema, depth)

    def _of_type(self, schema: dict[str, Any], depth: int) -> SearchStrategy[Any]:
        match schema.get("type"):
            case "object":
                return self._objects(schema, depth)
            case "array":
                most = 0 if depth > MAX_DEPTH else 3
                return st.lists(self.values(schema.get("items", {}), depth + 1), max_size=most)
            case "string":
                return self._words
            case "integer":
                return st.integers(0, 70_000) | st.sampled_from(NUMBERS)
            case "number":
                return st.floats(-200, 200) | st.sampled_from(NUMBERS)
            case "boolean":
                return st.booleans()
            case "null":
                return st.none()
        return json_values

    def _objects(self, schema: dict[str, Any], depth: int) -> SearchStrategy[Any]:
        properties = {
            name: self.values(each, depth + 1)
            for name, each in schema.get("properties", {}).items()
        }
        required = set(schema.get("required", ()))
        if not properties:
            inner = schema.get("additionalProperties")
            values = self.values(inner, depth + 1) if isinstance(inner, dict) else json_values
            return st.dictionaries(self._words, values, max_size=3)
        return st.fixed_dictionaries(
            {name: properties[name] for name in properties if name in required},
            optional={
                name: each
                for name, each in properties.items()
                if name not in required and depth <= MAX_DEPTH
            },
        )
