"""The allocator's paths, their methods, and their labels in metrics."""

from __future__ import annotations

from firsthop_allocator.http.measurements import RACE_MODULE, RACES, SAMPLES
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
    RACE_MODULE: "GET,HEAD",
    "/healthz": "GET,HEAD",
    "/readyz": "GET,HEAD",
    "/metrics": "GET,HEAD",
    "/openapi.json": "GET,HEAD",
}


def allowed_methods(path: str) -> str | None:
    """The methods of a path; None for an unknown path."""
    route = route_of(path)
    return _OF_SESSION if route == SESSION else _METHODS.get(route)


def route_of(path: str) -> str:
    """The label of a path in metrics. Paths of sessions may end with a slash."""
    if path.startswith(SESSIONS):
        path = path.removesuffix("/")
    if path in _METHODS:
        return path
    inside, _, token = path.rpartition("/")
    return SESSION if inside == SESSIONS and token else "other"
