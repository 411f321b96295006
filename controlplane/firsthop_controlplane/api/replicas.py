"""The endpoint between control planes: a leader announces itself."""

from __future__ import annotations

from aiohttp import web
from pydantic import Field

from firsthop_controlplane.access.tokens import REPLICAS
from firsthop_controlplane.api.operations import Calling, Operation
from firsthop_zones.model import Model


class LeaderNotice(Model):
    """The sender leads, in this term."""

    term: int = Field(ge=0, lt=2**53)
    url: str = Field(max_length=1000)
    """The URL at which the sender is reached."""


async def _leader(calling: Calling) -> web.Response:
    notice = calling.read(LeaderNotice)
    await calling.deps.election.outranked(notice.term, notice.url)
    return web.Response(status=204)


OPERATIONS = (
    Operation(
        method="POST", path="/v1/replicas/leader", name="leader_notice", tag="replicas",
        roles=REPLICAS, summary="Announce that the caller leads", call=_leader, body=LeaderNotice,
        status=204, refusals=(422,),
    ),
)  # fmt: skip
