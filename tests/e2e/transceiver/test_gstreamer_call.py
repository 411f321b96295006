"""Debian's GStreamer, whose certificate is RSA, as the client of a call."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from field.namespaces import why_not as no_namespaces
from support.allocator_server import TOKEN
from support.call_site import call_site, output_of
from support.calls import CALL_S

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


async def test_gstreamer_connects_and_hears_its_tone(tmp_path: Path) -> None:
    """With an RSA certificate; without BUNDLE it is told what to set."""
    async with call_site(tmp_path) as site:
        command = (PYTHON, CLIENT, site.sessions, TOKEN)
        _, out = await output_of(*command, within=CALL_S, env={})
        assert out.split() == ["connected", "echo"], out
        _, out = await output_of(*command, "none", within=CALL_S, env={})
        assert "bundle-policy=max-bundle" in out
