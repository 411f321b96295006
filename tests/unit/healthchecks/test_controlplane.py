"""Which replica a prober or an agent asks, and when it goes to another. No sockets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientConnectionError

from firsthop_healthchecks.controlplane import ControlPlaneClient
from firsthop_net.api_session import ControlPlaneCallError

URLS = ["http://a:1", "http://b:1/", "http://c:1"]


class Session:
    """Answers for every replica, or raises."""

    def __init__(self, **answers: int | Exception) -> None:
        self.answers = answers
        self.asked: list[str] = []

    @contextlib.asynccontextmanager
    async def request(self, method: str, url: str, **_: Any) -> AsyncIterator[Any]:
        name = url[7]
        self.asked.append(name)
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer

        async def read(_: int = -1) -> bytes:
            return b'{"targets": []}'

        content = SimpleNamespace(read=read)
        yield SimpleNamespace(status=answer, read=read, content=content, headers={})


def asking(session: Session, chance: float) -> ControlPlaneClient:
    made = ControlPlaneClient(URLS, "token", chance=lambda: chance)
    made._session._session = session  # type: ignore[assignment]
    return made


@pytest.mark.parametrize(("chance", "first"), [(0.0, "a"), (0.34, "b"), (0.999, "c")])
async def test_the_first_replica_is_drawn_and_kept_while_it_serves(
    chance: float, first: str
) -> None:
    """So that many probers spread over the replicas."""
    session = Session(a=200, b=200, c=200)
    control_plane = asking(session, chance)
    for _ in range(3):
        await control_plane.probe_targets()
    assert session.asked == [first] * 3


@pytest.mark.parametrize("failure", [TimeoutError(), ClientConnectionError("gone"), OSError(), 503])
async def test_a_replica_that_cannot_serve_is_left(failure: int | Exception) -> None:
    """The call fails, as its caller has to say what is true then; the next goes elsewhere."""
    session = Session(a=failure, b=failure, c=200)
    control_plane = asking(session, 0.0)
    for _ in range(2):
        with pytest.raises(ControlPlaneCallError):
            await control_plane.probe_targets()
    await control_plane.probe_targets()
    await control_plane.probe_targets()
    assert session.asked == ["a", "b", "c", "c"]
    session.answers = {"a": 200, "b": 200, "c": 503}
    with pytest.raises(ControlPlaneCallError, match="status 503"):
        await control_plane.probe_targets()
    await control_plane.probe_targets()
    assert session.asked[-1] == "a", "round to the first again"


async def test_a_refusal_is_no_reason_to_leave() -> None:
    """Another replica over the same database would refuse as well."""
    session = Session(a=403, b=200, c=200)
    control_plane = asking(session, 0.0)
    for _ in range(2):
        with pytest.raises(ControlPlaneCallError, match="status 403"):
            await control_plane.probe_targets()
    assert session.asked == ["a", "a"]
