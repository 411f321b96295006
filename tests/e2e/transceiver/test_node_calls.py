"""Stacks for Node as clients of a call: werift (TypeScript) and libdatachannel (C++)."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from field.namespaces import Switch
from field.namespaces import why_not as no_namespaces
from support.allocator_server import TOKEN
from support.calls import RELAY_PORT, relay, world

CLIENT = Path(__file__).parent / "node"
INSTALL_S, CALL_S = 300.0, 60.0

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.interop,
    pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed"),
    pytest.mark.skipif(bool(no_namespaces()), reason=no_namespaces()),
    pytest.mark.xdist_group("deployment"),
]


async def said(*command: str, cwd: Path, within: float) -> tuple[int | None, str]:
    """Exit status and output."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(within):
        out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_stacks_for_node_connect_and_get_their_message_back(tmp_path: Path) -> None:
    """Both through a relay, in a place without loopback addresses."""
    folder = Path(shutil.copytree(CLIENT, tmp_path / "node"))
    code, out = await said(
        "npm", "install", "--no-audit", "--no-fund", cwd=folder, within=INSTALL_S
    )
    if code:
        pytest.skip(f"the npm packages cannot be had: {out.splitlines()[-1:]}")
    with ExitStack() as stack:
        place = stack.enter_context(Switch()).place("site", "10.77.0.1")
        stack.enter_context(place.entered())
        async with (
            world(tmp_path, host=place.address) as (here, _),
            relay(tmp_path, here.transceivers, address=place.address) as between,
        ):
            here.plan([(between.address, RELAY_PORT)])
            url = f"http://{place.address}:{here.allocator.port}/v1/sessions"
            for client in ("werift", "libdatachannel"):
                command = ("node", "call.mjs", client, url, TOKEN)
                code, out = await said(*command, cwd=folder, within=CALL_S)
                assert (code, out.strip().isdigit()) == (0, True), (client, out)
