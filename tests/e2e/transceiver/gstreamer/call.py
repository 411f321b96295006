"""A GStreamer client: `python3 call.py URL TOKEN [BUNDLE_POLICY]`, run by Debian's Python.

It sends a tone to a session, prints the response's status and body if it is refused, else one line
"connected", then "echo" once packets have come back, and ends.
"""

import sys
import urllib.error
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

URL, TOKEN, POLICY = sys.argv[1], sys.argv[2], (*sys.argv[3:], "max-bundle")[0]
WANTED = 25
"""Packets of the echo: half a second of audio."""

Gst.init(None)
loop = GLib.MainLoop()
pipeline = Gst.parse_launch(
    f"webrtcbin name=peer bundle-policy={POLICY} "
    "audiotestsrc is-live=true ! opusenc ! rtpopuspay pt=111 ! "
    "application/x-rtp,media=audio,encoding-name=OPUS,payload=111 ! peer."
)
peer = pipeline.get_by_name("peer")


def negotiate(_):
    peer.emit("create-offer", None, Gst.Promise.new_with_change_func(offered, None))


def offered(promise, _):
    promise.wait()
    reply = promise.get_reply()  # it owns the offer
    offer = reply.get_value("offer")
    peer.emit("set-local-description", offer, None)
    request = urllib.request.Request(
        URL,
        offer.sdp.as_text().encode(),
        {"Content-Type": "application/sdp", "Authorization": f"Bearer {TOKEN}"},
    )
    try:
        with urllib.request.urlopen(request) as response:
            answer = response.read().decode()
    except urllib.error.HTTPError as error:
        print(error.code, error.read().decode(), flush=True)
        loop.quit()
        return
    _, sdp = GstSdp.SDPMessage.new_from_text(answer)
    described = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp)
    peer.emit("set-remote-description", described, None)
    for line in answer.splitlines():
        if line.startswith("a=candidate:"):
            peer.emit("add-ice-candidate", 0, line.removeprefix("a="))


def changed(*_):
    if peer.get_property("connection-state") == GstWebRTC.WebRTCPeerConnectionState.CONNECTED:
        print("connected", flush=True)


def came_back(_, pad):
    seen = []

    def count(*_):
        seen.append(1)
        if len(seen) == WANTED:
            print("echo", flush=True)
            loop.quit()
        return Gst.PadProbeReturn.DROP

    pad.add_probe(Gst.PadProbeType.BUFFER, count)


peer.connect("on-negotiation-needed", negotiate)
peer.connect("notify::connection-state", changed)
peer.connect("pad-added", came_back)
pipeline.set_state(Gst.State.PLAYING)
GLib.timeout_add_seconds(30, loop.quit)
loop.run()
pipeline.set_state(Gst.State.NULL)
