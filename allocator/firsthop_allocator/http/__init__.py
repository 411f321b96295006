"""The HTTP API: routes, callers, request and response bodies, WHIP."""
