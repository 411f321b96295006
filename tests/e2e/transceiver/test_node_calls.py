"""Stacks for Node as clients of a call: werift (TypeScript) and libdatachannel (C++)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from field.namespaces import why_not as no_namespaces
from support.allocator_server import TOKEN
from support.call_site import call_site, output_of

CLIENT = Path(__file__).parent / "node"
INSTALL_S, CALL_S = 300.0, 60.0

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.interop,
    pytest.mark.skipif(not shutil.which("npm"), reason="npm is not installed"),
    pytest.mark.skipif(bool(no_namespaces()), reason=no_namespaces()),
    pytest.mark.xdist_group("deployment"),
]


async def test_stacks_for_node_connect_and_get_their_message_back(tmp_path: Path) -> None:
    """Both through a relay."""
    folder = Path(shutil.copytree(CLIENT, tmp_path / "node"))
    code, out = await output_of(
        "npm", "install", "--no-audit", "--no-fund", cwd=folder, within=INSTALL_S
    )
    if code:
        pytest.skip(f"the npm packages cannot be had: {out.splitlines()[-1:]}")
    async with call_site(tmp_path) as site:
        for client in ("werift", "libdatachannel"):
            command = ("node", "call.mjs", client, site.sessions, TOKEN)
            code, out = await output_of(*command, cwd=folder, within=CALL_S)
            assert (code, out.strip().isdigit()) == (0, True), (client, out)
