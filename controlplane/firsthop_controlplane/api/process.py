"""Endpoints without a token: liveness, readiness, metrics."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from firsthop_controlplane.api.operations import Calling, Operation, answer_json
from firsthop_controlplane.api.steering import leader_view

_TEXT: dict[str, Any] = {"type": "string"}
_READY: dict[str, Any] = {
    "type": "object",
    "required": ["ready", "reasons", "leader"],
    "properties": {
        "ready": {"type": "boolean"},
        "reasons": {"type": "array", "items": {"type": "string"}},
        "leader": {"type": "object", "description": "The leader, as in GET /v1/status."},
    },
}


async def _alive(calling: Calling) -> web.Response:
    return web.Response(text="ok\n")


async def _ready(calling: Calling) -> web.Response:
    deps = calling.deps
    reasons = []
    if not deps.follower.store.ok:
        reasons.append(f"the database cannot be reached: {deps.follower.store.reason}")
    for name, snapshot in (
        ("plan", deps.feed.plan),
        ("status", deps.feed.status),
        ("keys", deps.feed.keys),
    ):
        if snapshot is None:
            reasons.append(f"there is no {name} yet")
    if not deps.leadership.leads and not deps.peers.connected_to:
        reasons.append(f"no leader is followed: {deps.peers.last_error or 'none is known'}")
    leader = leader_view(deps).model_dump(mode="json")
    body = {"ready": not reasons, "reasons": reasons, "leader": leader}
    return answer_json(body, status=503 if reasons else 200)


async def _metrics(calling: Calling) -> web.Response:
    headers = {"Content-Type": CONTENT_TYPE_LATEST}
    return web.Response(body=calling.deps.measures.text(), headers=headers)


OPERATIONS = (
    Operation(
        method="GET", path="/healthz", name="healthz", tag="process", roles=None,
        summary="Liveness", call=_alive, answer=_TEXT, media_type="text/plain",
    ),
    Operation(
        method="GET", path="/readyz", name="readyz", tag="process", roles=None,
        summary="Whether it can serve changes, and if not, why", call=_ready, answer=_READY,
        refusals=(503,),
    ),
    Operation(
        method="GET", path="/metrics", name="metrics", tag="process", roles=None,
        summary="Prometheus metrics", call=_metrics, answer=_TEXT, media_type="text/plain",
    ),
)  # fmt: skip
