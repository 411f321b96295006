"""WHIP sessions (RFC 9725) at the allocator, answered by real transceiver processes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack

from firsthop_healthchecks.probes import Failed, Passed
from firsthop_healthchecks.probes.stun import StunProbe
from firsthop_ice.session_token import read_token, sign_call
from firsthop_ice.turn import turn_credential, username_expiry
from firsthop_ice.ufrag import Decoded, claims, decode, mint
from firsthop_steering.feed.reports import ProbeTarget
from support.allocator_server import BEARER, Running
from support.allocator_world import KEYS
from support.calls import (
    RELAY_PORT,
    SIGNALLING_PORT,
    CallSetup,
    Forwarder,
    relay,
    transceiver,
    world,
)
from support.standin import own_address
from support.waiting import DEADLINE_S

pytestmark = pytest.mark.e2e

OFFER_TYPE = {"Content-Type": "application/sdp"}
FRAGMENT_TYPE = {"Content-Type": "application/trickle-ice-sdpfrag"}
FRAGMENT = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n"


async def call(
    allocator: Running, method: str, path: str, body: str = "", **headers: str
) -> tuple[int, str, Any]:
    """Status, body and header fields."""
    fields = {**BEARER, **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with allocator.session.request(
        method, allocator.url + path, data=body.encode() if body else None, headers=fields
    ) as response:
        return response.status, await response.text(), response.headers


class Peer:
    """An aiortc peer that offers a data channel, and audio if told so."""

    def __init__(self, *, audio: bool = False) -> None:
        self.peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.messages: asyncio.Queue[str] = asyncio.Queue()
        self.tracks: asyncio.Queue[Any] = asyncio.Queue()
        self.channel = self.peer.createDataChannel("echo")
        self.open = asyncio.Event()
        self.channel.on("open", self.open.set)
        self.channel.on("message", self.messages.put_nowait)
        self.peer.on("track", self.tracks.put_nowait)
        if audio:
            self.peer.addTrack(AudioStreamTrack())

    async def offer(self) -> str:
        await self.peer.setLocalDescription(await self.peer.createOffer())
        return str(self.peer.localDescription.sdp)

    async def take(self, answer: str) -> None:
        await self.peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        async with asyncio.timeout(DEADLINE_S):
            await self.open.wait()

    async def echo(self, text: str, within: float = DEADLINE_S) -> None:
        self.channel.send(text)
        async with asyncio.timeout(within):
            assert await self.messages.get() == text


@asynccontextmanager
async def client(**options: bool) -> AsyncIterator[Peer]:
    made = Peer(**options)
    try:
        yield made
    finally:
        await made.peer.close()


async def opened(world: CallSetup, client: Peer, query: str = "") -> tuple[str, str, Any]:
    """The session's path, the answer and the response's fields, once the client is connected."""
    status, answer, headers = await call(
        world.allocator, "POST", f"/v1/sessions{query}", await client.offer(), **OFFER_TYPE
    )
    assert status == 201, answer
    await client.take(answer)
    return headers["Location"], answer, headers


def ufrag_of(description: str) -> str:
    return re.findall(r"a=ice-ufrag:(\S+)", description)[0]


async def test_a_call_goes_by_the_relay_and_comes_back(tmp_path: Path) -> None:
    """Message and audio echo; every packet has gone through the relay of the answer."""
    async with world(tmp_path, through=True) as (here, forwarder), client(audio=True) as caller:
        location, answer, headers = await opened(here, caller)
        assert forwarder is not None
        await caller.echo("hello")
        async with asyncio.timeout(DEADLINE_S):
            track = await caller.tracks.get()
            frame = await track.recv()
        assert frame.sample_rate == 48000
        candidates = re.findall(r"a=candidate:(.*)", answer)
        assert [each.split()[4:6] for each in candidates] == [[forwarder.address, "3478"]]
        assert "a=ice-lite" in answer
        assert "a=setup:active" in answer
        assert headers["ETag"] == f'"{ufrag_of(answer)}"'
        name = claims(ufrag_of(answer))
        assert name is not None
        assert (name.region, name.transceiver) == (7, 1)
        counted = await here.transceivers[0].counts()
        passed = counted["packets_passed_on_total"] + counted["checks_answered_total"]
        dropped = sum(value for key, value in counted.items() if key.startswith("packets_dropped"))
        assert counted["packets_received_total"] == passed + dropped
        assert passed > 20
        status, _, _ = await call(here.allocator, "DELETE", location)
        assert status == 200
        assert (await here.transceivers[0].counts())["open_sessions"] == 0
        status, _, _ = await call(here.allocator, "DELETE", location)
        assert status == 404


async def test_an_ice_restart_keeps_the_session(tmp_path: Path) -> None:
    """PATCH mints on the same route, under another tag; what is not a restart is refused."""
    async with world(tmp_path) as (here, _), client() as caller:
        location, answer, headers = await opened(here, caller)

        async def patch(body: str = FRAGMENT, **more: str) -> tuple[int, str, Any]:
            return await call(here.allocator, "PATCH", location, body, **{**FRAGMENT_TYPE, **more})

        assert (await patch())[0] == 428
        for another in ('"another"', f"W/{headers['ETag']}", '"a", "b"'):
            assert (await patch(If_Match=another))[0] == 412, another
        for tags in (headers["ETag"], f'"another", {headers["ETag"]}'):
            status, problem, _ = await patch(If_Match=tags)
            assert (status, "candidates are not accepted" in problem) == (422, True)
        assert (await patch("a=mid:0\r\n", If_Match="*"))[0] == 422
        status, _, fields = await patch(If_Match="*", **OFFER_TYPE)
        assert (status, fields["Accept-Patch"]) == (415, "application/trickle-ice-sdpfrag")
        status, fragment, renewed = await patch(If_Match='"*"')
        assert status == 200, fragment
        assert renewed["Content-Type"].startswith("application/trickle-ice-sdpfrag")
        before, after = claims(ufrag_of(answer)), claims(ufrag_of(fragment))
        assert before is not None
        assert after is not None
        assert (after.region, after.transceiver) == (before.region, before.transceiver)
        assert after.nonce != before.nonce
        assert renewed["ETag"] == f'"{ufrag_of(fragment)}"' != headers["ETag"]
        assert f"{here.relays[0][0]} 3478" not in fragment  # the relay here is the transceiver
        assert f"{here.relays[0][0]} {here.relays[0][1]} typ host" in fragment
        await caller.echo("still there")


async def test_a_client_whose_relay_forgot_it_is_found_again(tmp_path: Path) -> None:
    """An aiortc client never nominates twice; its next consent check is followed all the same."""
    async with world(tmp_path, through=True) as (here, forwarder), client() as caller:
        await opened(here, caller)
        assert forwarder is not None
        await caller.echo("before")
        forwarder.forget()
        await caller.echo("after")


async def test_what_is_no_offer_is_refused_by_a_rule(tmp_path: Path) -> None:
    """And no transceiver hears of it."""
    async with world(tmp_path) as (here, _), client() as caller:
        offer = await caller.offer()

        async def post(body: str, query: str = "", **headers: str) -> tuple[int, str, Any]:
            fields = {**OFFER_TYPE, **headers}
            return await call(here.allocator, "POST", f"/v1/sessions{query}", body, **fields)

        status, _, headers = await post(offer, Content_Type="application/json")
        assert (status, headers["Accept-Post"]) == (415, "application/sdp")
        assert (await post("v=0\r\n"))[0] == 422
        assert (await post(offer.replace("a=setup:actpass", "a=setup:active")))[0] == 422
        assert (await post("v=0\r\n" + "a=x\r\n" * 20_000))[0] == 413
        assert (await post(offer, Authorization="Bearer wrong"))[0] == 401
        for query in ("?ttl=1", "?ttl=x", "?service=nowhere", "?transceiver_region=mars", "?x=1"):
            assert (await post(offer, query))[0] == 422, query
        # The rules know lines; what aiortc cannot read in them is the client's fault too.
        status, problem, _ = await post(re.sub("a=sctp-port:.*", "a=sctp-port:x", offer))
        assert (status, "cannot be answered" in problem) == (422, True)
        counted = await here.transceivers[0].counts()
        assert counted["open_sessions"] == 0
        for method in ("GET", "PUT", "DELETE"):
            assert (await call(here.allocator, method, "/v1/sessions"))[0] == 405
        assert (await call(here.allocator, "GET", "/v1/sessions/x"))[0] == 405
        assert (await call(here.allocator, "DELETE", "/v1/sessions/x/"))[0] == 404
        status, _, headers = await post(offer, "/")
        assert status == 201
        assert (await call(here.allocator, "DELETE", f"{headers['Location']}/"))[0] == 200
        assert (await call(here.allocator, "DELETE", "/v1/sessions/x"))[0] == 404
        assert (await call(here.allocator, "DELETE", "/v1/sessions/" + "A" * 52))[0] == 404


async def test_turn_servers_come_as_links_with_a_credential_that_ends(tmp_path: Path) -> None:
    """RFC 9725 §4.6: one for each URL, as many as an allocation would give."""
    async with world(tmp_path) as (here, _), client() as caller:
        host, port = here.relays[0]
        relays = [
            {"id": "fra-1", "region": "fra", "ipv4": host, "udp_port": port},
            {"id": "turn", "kind": "turn", "region": "fra", "ipv4": "192.0.2.30", "tcp_port": 443},
        ]
        here.plan([], relays=relays)
        offer = await caller.offer()
        status, answer, headers = await call(
            here.allocator, "POST", "/v1/sessions?ttl=600", offer, **OFFER_TYPE
        )
        assert status == 201, answer
        links = headers.getall("Link")
        assert [each.partition(";")[0] for each in links] == [
            "<turn:192.0.2.30:3478?transport=udp>",
            "<turn:192.0.2.30:443?transport=tcp>",
        ]
        assert "192.0.2.30" not in answer
        fields = dict(re.findall(r'([a-z-]+)="([^"]*)"', links[0]))
        assert (fields["rel"], fields["credential-type"]) == ("ice-server", "password")
        expiry = username_expiry(fields["username"])
        assert expiry is not None
        assert 590 < expiry - datetime.now(UTC).timestamp() < 620
        made = turn_credential(
            here.allocator.holder.state.turn_secret,
            expires_at=datetime.fromtimestamp(expiry, UTC),
            name="7",
        )
        assert fields["credential"] == made.password


async def test_a_dead_transceiver_costs_a_try_and_a_dead_region_goes_to_the_next(
    tmp_path: Path,
) -> None:
    """The ufrag names who took the session in the end; a pin is kept or refused."""
    async with world(tmp_path, regions=("eu", "us")) as (here, _):
        eu, us = here.transceivers
        dead = {**eu.planned(), "id": "eu-dead", "wire_id": 77, "signalling_ipv4": own_address()}
        here.plan([us.media], transceivers=[eu.planned(), dead, us.planned()])
        for _ in range(4):  # whichever of the two is drawn first
            async with client() as caller:
                _, answer, _ = await call(
                    here.allocator, "POST", "/v1/sessions", await caller.offer(), **OFFER_TYPE
                )
                name = claims(ufrag_of(answer))
                assert name is not None
                assert (name.region, name.transceiver) == (7, 1)
        await eu.process.kill()
        async with client() as caller:
            _, answer, headers = await opened(here, caller)
            name = claims(ufrag_of(answer))
            assert name is not None
            assert (name.region, name.transceiver) == (300, 2)
            assert '"transceiver_region":"us"' in headers["Firsthop-Route"]
            await caller.echo("over the ocean")
        async with client() as caller:
            status, problem, headers = await call(
                here.allocator,
                "POST",
                "/v1/sessions?transceiver_region=eu",
                await caller.offer(),
                **OFFER_TYPE,
            )
            assert (status, "no-transceiver" in problem) == (503, True)
            assert "Retry-After" in headers


async def test_a_draining_transceiver_keeps_its_sessions_and_takes_no_more(tmp_path: Path) -> None:
    """SIGUSR1 and back; a full one refuses likewise."""
    async with world(tmp_path) as (here, _), client() as caller, client() as late:
        await opened(here, caller)
        process = here.transceivers[0].process
        process.send(signal.SIGUSR1)
        await process.said("transceiver.draining")
        offer = await late.offer()
        status, _, _ = await call(here.allocator, "POST", "/v1/sessions", offer, **OFFER_TYPE)
        assert status == 503
        assert (await here.transceivers[0].counts())["accepting"] == 0
        await caller.echo("still there")
        process.send(signal.SIGUSR2)
        await process.said("transceiver.accepting")
        status, answer, _ = await call(here.allocator, "POST", "/v1/sessions", offer, **OFFER_TYPE)
        assert status == 201
        await late.take(answer)


async def test_a_full_transceiver_takes_no_more(tmp_path: Path) -> None:
    """Until one ends."""
    async with (
        transceiver(tmp_path, "eu", 3, "--sessions", "1") as small,
        world(tmp_path) as (here, _),
        client() as first,
        client() as second,
    ):
        here.plan([small.media], transceivers=[small.planned()])
        location, _, _ = await opened(here, first)
        offer = await second.offer()
        status, _, _ = await call(here.allocator, "POST", "/v1/sessions", offer, **OFFER_TYPE)
        assert status == 503
        assert (await call(here.allocator, "DELETE", location))[0] == 200
        status, _, _ = await call(here.allocator, "POST", "/v1/sessions", offer, **OFFER_TYPE)
        assert status == 201


async def test_a_transceiver_obeys_allocators_alone(tmp_path: Path) -> None:
    """Who has a session's token, as its client does, can ask its transceiver for nothing."""
    async with world(tmp_path) as (here, _), client() as caller:
        location, answer, _ = await opened(here, caller)
        token = location.rpartition("/")[2]
        name = read_token(token)
        assert name is not None
        end = here.transceivers[0]
        url = f"http://{end.address}:{SIGNALLING_PORT}/v1/sessions/"
        forged = sign_call(b"k" * 32, "DELETE", token, "", b"")
        http = here.allocator.session
        for headers in ({}, {"Firsthop-Signature": forged}, {"Firsthop-Signature": "ü"}):
            async with http.delete(url + token, headers=headers) as response:
                assert response.status == 401
        async with http.delete(url + "x" * 52) as response:
            assert response.status == 404
        async with http.put(url + token, data=answer, headers=OFFER_TYPE) as response:
            assert response.status == 401
        await caller.echo("untouched")
        counted = await end.counts()
        assert counted['sessions_total{result="refused_signature"}'] == 4


async def test_keys_of_a_region_change_while_it_runs(tmp_path: Path) -> None:
    """Another region's, or broken ones, are refused; the old ones stay in force."""
    async with world(tmp_path) as (here, _), client() as caller:
        process, keys = here.transceivers[0].process, tmp_path / "eu.keys"
        good = keys.read_text()
        for bad, words in (("broken", "JSON"), (good.replace(": 7,", ": 8,"), "region 8")):
            keys.write_text(bad)
            process.send(signal.SIGHUP)
            assert words in await process.said(words)
        keys.write_text(good)
        process.send(signal.SIGHUP)
        await process.said("region_keys.loaded")
        await opened(here, caller)
        process.send(signal.SIGTERM)
        assert await process.ended() == 0
        assert "Traceback" not in process.log


async def test_a_transceiver_whose_signalling_is_steered_needs_no_allocator(
    tmp_path: Path,
) -> None:
    """It mints for itself: the relay's place in the answer, restart and end by the Location."""
    routes = tmp_path / "route.keys"
    routes.write_text(KEYS.routes.to_json())
    routes.chmod(0o600)
    front = own_address()
    async with (
        transceiver(
            tmp_path, "eu", 9, "--route-keys", str(routes), "--relays", f"{front}:{RELAY_PORT}"
        ) as end,
        Forwarder(end.media, front) as forwarder,
        client() as caller,
        ClientSession(f"http://{end.address}:{SIGNALLING_PORT}") as http,
    ):
        offer = await caller.offer()
        async with http.post("/v1/sessions", data=offer, headers=OFFER_TYPE) as response:
            assert response.status == 201
            location, answer = response.headers["Location"], await response.text()
        await caller.take(answer)
        await caller.echo("without an allocator")
        assert re.findall(r"a=candidate:.* (\S+ \d+) typ", answer) == [f"{front} {RELAY_PORT}"]
        decoded = decode(ufrag_of(answer), KEYS.routes, now=datetime.now(UTC))
        assert isinstance(decoded, Decoded)
        assert (decoded.region, decoded.transceiver) == (7, 9)
        assert forwarder.ufrags == {ufrag_of(answer)}
        fields = {**FRAGMENT_TYPE, "If-Match": "*"}
        async with http.patch(location, data=FRAGMENT, headers=fields) as response:
            assert response.status == 200
            fragment = await response.text()
        assert f"{front} {RELAY_PORT} typ host" in fragment
        assert ufrag_of(fragment) != ufrag_of(answer)
        async with http.delete("/v1/sessions/" + "x" * 52) as response:
            assert response.status == 404
        async with http.delete(location) as response:
            assert response.status == 200
    async with transceiver(tmp_path, "us", 9) as end, ClientSession() as http:
        url = f"http://{end.address}:{SIGNALLING_PORT}/v1/sessions"
        async with http.post(url, data=offer, headers=OFFER_TYPE) as response:
            assert response.status == 401


async def test_a_probe_goes_by_a_relay_to_a_transceiver_and_back(tmp_path: Path) -> None:
    """Of kind path: no session is opened for it, and a dead transceiver fails it."""
    async with (
        transceiver(tmp_path) as end,
        relay(tmp_path, [end]) as between,
    ):
        expiry = datetime.now(UTC) + timedelta(hours=1)
        made = mint(KEYS, region=7, transceiver=0, expires_at=expiry, entropy=os.urandom(7))
        target = ProbeTarget(
            relay="fra-1", kind="path", address=ip_address(between.address), port=RELAY_PORT,
            interval_s=1, timeout_s=5, rise=1, fall=1, ufrag=made.ufrag, password=made.password,
        )  # fmt: skip
        probe = StunProbe()
        assert isinstance(await probe.check(target), Passed)
        counted = await end.counts()
        assert (counted["checks_answered_total"], counted["open_sessions"]) == (1, 0)
        await end.process.kill()
        assert isinstance(await probe.check(target.model_copy(update={"timeout_s": 0.3})), Failed)
        await probe.close()
