"""A Pion client, as of Go servers and apps, through a forwarder in a relay's place."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from firsthop_ice.ufrag import claims
from support.allocator_server import BEARER
from support.call_site import output_of
from support.calls import RELAY_PORT, world

MODULE = Path(__file__).parent / "pion"
GO = shutil.which("go") or shutil.which("/usr/local/go/bin/go") or ""
BUILD_S, CALL_S = 600.0, 30.0
GO_ENV = {**os.environ, "GOFLAGS": "-mod=readonly -buildvcs=false"}

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not GO, reason="Go is not installed"),
]


async def test_a_pion_client_goes_by_the_relay_and_comes_back(tmp_path: Path) -> None:
    """Its own candidates are taken out of the offer, and its one pair is the relay."""
    client = tmp_path / "client"
    code, said = await output_of(GO, "mod", "download", cwd=MODULE, within=BUILD_S, env=GO_ENV)
    if code:
        pytest.skip(f"the Go modules cannot be had: {said.splitlines()[-1:]}")
    code, said = await output_of(
        GO, "build", "-o", client, ".", cwd=MODULE, within=BUILD_S, env=GO_ENV
    )
    assert code == 0, said
    async with world(tmp_path, through=True) as (here, relay):
        assert relay is not None
        token = BEARER["Authorization"].partition(" ")[2]
        code, said = await output_of(client, here.url, token, "hello", cwd=tmp_path, within=CALL_S)
        assert code == 0, said
        got = json.loads(said)
        assert got["echo"] == "hello"
        assert got["remote"] == f"{relay.address}:{RELAY_PORT}"
        (ufrag,) = relay.ufrags
        name = claims(ufrag)
        assert name is not None
        assert (name.region, name.transceiver) == (7, 1)
        assert got["location"].startswith("/v1/sessions/")
