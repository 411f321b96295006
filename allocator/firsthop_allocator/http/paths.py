"""The allocator's paths: which methods each takes, and what metrics call it."""

from __future__ import annotations

from firsthop_allocator.http.measurements import RACES, SAMPLES, SNIPPET
from firsthop_allocator.http.whip import PATH as SESSIONS

ALLOCATIONS, REGIONS = "/v1/allocations", "/v1/regions"
SESSION = f"{SESSIONS}/{{token}}"
_OF_SESSION = "PATCH,DELETE"
_METHODS = {
    ALLOCATIONS: "POST",
    REGIONS: "GET,HEAD",
    SESSIONS: "POST",
    RACES: "POST",
    SAMPLES: "POST",
    SNIPPET: "GET,HEAD",
    "/healthz": "GET,HEAD",
    "/readyz": "GET,HEAD",
    "/metrics": "GET,HEAD",
    "/openapi.json": "GET,HEAD",
}


def allowed_methods(path: str) -> str | None:
    """The methods that a path takes; None where nothing is."""
    return _OF_SESSION if route_of(path) == SESSION else _METHODS.get(path)


def route_of(path: str) -> str:
    """The path as metrics name it."""
    if path in _METHODS:
        return path
    inside, _, token = path.rpartition("/")
    return SESSION if inside == SESSIONS and token else "other"
