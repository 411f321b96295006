"""How an edge posts to the control plane that it follows: what it may try again, and what not."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from firsthop.edge.reporting.posting import Poster
from firsthop_net.api_session import REASON_LENGTH

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("status", "is_error", "refused"),
    [
        (200, False, False),
        (204, False, False),
        (401, True, False),
        (403, True, False),
        (404, True, False),
        (413, True, True),
        (422, True, True),
        (429, True, False),
        (503, True, False),
    ],
)
async def test_only_what_is_wrong_itself_is_given_up(
    status: int, is_error: bool, refused: bool
) -> None:
    """A token, a leader or a release may be another one soon."""
    heard: list[tuple[str, str, bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        said = request.path, request.headers["Authorization"], await request.read()
        heard.append(said)
        return web.Response(status=status, text="" if status == 204 else "why " * 1000)

    app = web.Application()
    app.router.add_post("/v1/measurements", answer)
    async with TestServer(app) as server:
        root = str(server.make_url("/"))
        async with Poster("secret", lambda: root) as poster:
            posted = await poster.post("/v1/measurements", "{}")
    assert heard == [("/v1/measurements", "Bearer secret", b"{}")]
    assert (bool(posted.error), posted.refused) == (is_error, refused)
    assert len(posted.error) < REASON_LENGTH + 20


async def test_nobody_to_tell_is_an_error_that_passes() -> None:
    """While no control plane is followed, and when it is just gone."""
    async with Poster("secret", lambda: "") as poster:
        first = await poster.post("/v1/demand", "{}")
        assert first.error == "no control plane is followed"
        assert not first.refused
    async with Poster("secret", lambda: "http://127.0.0.1:1") as poster:
        gone = await poster.post("/v1/demand", "{}")
        assert gone.error
        assert not gone.refused
