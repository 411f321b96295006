"""Debian's GStreamer, whose certificate is RSA, as the client of a call."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from field.namespaces import Switch
from field.namespaces import why_not as no_namespaces
from support.allocator_server import TOKEN
from support.calls import RELAY_PORT, relay, world

PYTHON = "/usr/bin/python3"
CLIENT = Path(__file__).parent / "gstreamer" / "call.py"
_NEEDS = (
    "import gi; gi.require_version('GstWebRTC', '1.0'); from gi.repository import Gst, GstWebRTC; "
    "Gst.init(None); assert Gst.ElementFactory.find('webrtcbin') and "
    "Gst.ElementFactory.find('nicesrc') and Gst.ElementFactory.find('opusenc')"
)


def _is_here() -> bool:
    try:
        return not subprocess.run([PYTHON, "-c", _NEEDS], capture_output=True).returncode
    except OSError:
        return False


pytestmark = [
    pytest.mark.e2e,
    pytest.mark.interop,
    pytest.mark.skipif(not _is_here(), reason="GStreamer's webrtcbin and its Python are absent"),
    pytest.mark.skipif(bool(no_namespaces()), reason=no_namespaces()),
    pytest.mark.xdist_group("deployment"),
]


async def said(url: str, *arguments: str) -> str:
    """What the client prints until it ends."""
    process = await asyncio.create_subprocess_exec(
        PYTHON, str(CLIENT), url, TOKEN, *arguments, stdout=asyncio.subprocess.PIPE, env={}
    )
    out, _ = await process.communicate()
    return out.decode()


async def test_gstreamer_connects_and_hears_its_tone(tmp_path: Path) -> None:
    """With an RSA certificate; without BUNDLE it is told what to set. In a place of its own, as
    libnice does not use loopback addresses."""
    with ExitStack() as stack:
        place = stack.enter_context(Switch()).place("site", "10.77.0.1")
        stack.enter_context(place.entered())
        async with (
            world(tmp_path, host=place.address) as (here, _),
            relay(tmp_path, here.transceivers, address=place.address) as between,
        ):
            here.plan([(between.address, RELAY_PORT)])
            url = f"http://{place.address}:{here.allocator.port}/v1/sessions"
            assert (await said(url)).split() == ["connected", "echo"]
            assert "bundle-policy=max-bundle" in await said(url, "none")
