"""The main job, end to end: `firsthop up`, asked as its users ask it."""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import dns.rcode
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from firsthop_ice.ufrag import Decoded, RouteKeys, decode
from firsthop_steering.feed.snapshot import KeySet, unseal
from support.browsers import page
from support.browsers import why_not as no_browser
from support.deployment import REGION_OF_HOST, Deployment, addresses, ask, free_port, scope
from support.fed_edge import FedEdge
from support.turn_server import turn_server
from support.turn_server import why_not as no_turn
from support.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.database, pytest.mark.xdist_group("deployment")]

# Prefixes of national networks, and the demo region nearest to the country.
PLACES = {
    "91.0.0.0/24": "fra",  # Germany
    "80.10.0.0/24": "fra",  # France
    "131.111.0.0/24": "fra",  # United Kingdom
    "200.160.0.0/24": "gru",  # Brazil
    "200.10.0.0/24": None,  # (Argentina or Chile: South America)
    "196.25.0.0/24": "jnb",  # South Africa
    "41.222.0.0/24": None,  # Africa
    "117.192.0.0/24": "bom",  # India
    "203.116.0.0/24": "sin",  # Singapore
    "175.136.0.0/24": "sin",  # Malaysia
    "1.128.0.0/24": "syd",  # Australia
    "202.27.0.0/24": "syd",  # New Zealand
    "133.11.0.0/24": None,  # Japan
}
GERMANY, BRAZIL = "91.0.0.0/24", "200.160.0.0/24"


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One running deployment for all tests of this module; each leaves it as it was."""
    network = 64 + os.getpid() % 128
    deployment = Deployment(tmp_path_factory.mktemp("up") / "state", network)
    deployment.start()
    until(lambda: all_up(deployment), "all relays are up")
    # Agents are started last: until they have seen their relays these may count as gone.
    known = [(subnet, region) for subnet, region in PLACES.items() if region]
    until(
        lambda: all(deployment.region(subnet) == region for subnet, region in known),
        "every place gets its region",
    )
    yield deployment
    assert deployment.stop() == 0
    assert "Traceback" not in deployment.output.read_text()


def all_up(up: Deployment) -> bool:
    """Whether the edge has heard that all eight relays are up."""
    with urllib.request.urlopen(f"http://127.0.0.1:{up.metrics}/metrics", timeout=30) as response:
        text = response.read().decode()
    relays = up.call("GET", "/v1/status")[1]["relays"].values()
    if any(each["crashed"] or each["share"] < 100 for each in relays):
        return False
    return len(re.findall(r'^firsthop_verdict\{relay="[^"]+"\} 1\.0$', text, re.MULTILINE)) == 8


def nearest(up: Deployment, subnet: str) -> str:
    """The region that is nearest by great circle to where the edge sees the client."""
    _, body, _ = up.call("GET", f"/v1/explain?service=relay&client={subnet.split('/')[0]}")
    return str(min(body["candidates"], key=lambda each: each["distance_km"])["region"])


@pytest.mark.parametrize("subnet", PLACES)
def test_every_place_gets_its_nearest_region(up: Deployment, subnet: str) -> None:
    """Over UDP and over TCP, with a scope, from thirteen countries."""
    expected = PLACES[subnet] or nearest(up, subnet)
    assert nearest(up, subnet) == expected
    answer = up.ask(subnet)
    assert REGION_OF_HOST[int(addresses(answer)[0].rpartition(".")[2])] == expected
    assert scope(answer) not in (None, 0)
    assert addresses(up.ask(subnet, tcp=True)) == addresses(answer)
    assert not addresses(up.ask(subnet, kind="AAAA"))  # not probed, so not in service


def test_a_killed_relay_moves_dns_and_allocator_and_back(up: Deployment) -> None:
    """kill -9 of the answered relay: the next region answers; after its restart it is back."""
    assert up.region(GERMANY) == "fra"
    assert up.allocate("91.0.0.1")["relays"][0]["region"] == "fra"
    up.find("relay", "--listen", f"{up.relays}.4:3478").kill()
    moved = until(lambda: (r := up.region(GERMANY)) != "fra" and r, "the answer moves")
    assert moved == "iad"
    until(lambda: up.allocate("91.0.0.1")["relays"][0]["region"] == "iad", "the allocator moves")
    assert up.region(BRAZIL) == "gru"
    until(lambda: up.region(GERMANY) == "fra", "the answer comes back")
    until(
        lambda: up.allocate("91.0.0.1")["relays"][0]["region"] == "fra", "the allocator comes back"
    )


def test_a_weight_moves_its_share_and_nobody_else(up: Deployment) -> None:
    """Weight 0 moves Frankfurt's clients only; 50 moves half of its 1,000 prefixes."""
    until(
        lambda: up.call("GET", "/v1/status")[1]["relays"]["fra-1"]["share"] == 100,
        "its relay has its whole share again, if it was down before",
    )
    before = up.region(BRAZIL)
    up.patch("/v1/regions/fra", weight=0)
    until(lambda: up.region(GERMANY) != "fra", "Frankfurt is drained")
    assert up.region(BRAZIL) == before
    up.patch("/v1/regions/fra", weight=50)
    prefixes = [f"{IPv4Address((91 << 24) + (n << 8))}/24" for n in range(1000)]
    until(lambda: scope(up.ask(GERMANY)) == 24, "the split is in force")
    kept = sum(up.region(each) == "fra" for each in prefixes)
    assert kept / 10 == pytest.approx(50, abs=4)
    up.patch("/v1/regions/fra", weight=100)
    until(lambda: all(up.region(each) == "fra" for each in prefixes[:50]), "all are back")


def route_keys(up: Deployment) -> RouteKeys:
    public = Ed25519PublicKey.from_public_bytes(
        bytes.fromhex((up.state / "snapshot.pub").read_text())
    )
    keys = unseal((up.state / "edge/snapshots/keys.snapshot").read_bytes(), public)
    assert isinstance(keys, KeySet)
    return RouteKeys.from_keyset(keys)


def test_an_allocation_names_its_region_and_cannot_be_forged(up: Deployment) -> None:
    """31 characters that decode to the transceiver region; with any bit turned the tag fails."""
    body = up.allocate("91.0.0.1")
    ufrag = body["ice_parameters"]["username_fragment"]
    assert len(ufrag) == 31
    keys, now = route_keys(up), datetime.now(UTC)
    decoded = decode(ufrag, keys, now=now)
    assert isinstance(decoded, Decoded)
    _, region, _ = up.call("GET", f"/v1/transceiver-regions/{body['transceiver_region']}")
    assert decoded.region == region["wire_id"]
    assert body["transceiver_region"] == "eu-central"
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for place in range(31):
        for bit in range(6):
            turned = alphabet[alphabet.index(ufrag[place]) ^ 1 << bit]
            forged = ufrag[:place] + turned + ufrag[place + 1 :]
            assert not isinstance(decode(forged, keys, now=now), Decoded), (place, bit)


def test_a_dead_database_comes_back(up: Deployment) -> None:
    """kill -9 of PostgreSQL: DNS goes on, and the API takes changes again soon."""
    up.find("-D", str(up.state / "postgres/data")).kill()
    assert up.region(GERMANY) == "fra"
    until(lambda: "PostgreSQL ended" in up.output.read_text(), "it is noticed")
    until(lambda: up.call("GET", "/v1/revisions")[0] == 200, "the API reads again")
    up.patch("/v1/regions/syd", name="Sydney again")


def test_explain_agrees_with_dns(up: Deployment) -> None:
    """For 150 random clients; every region is named with its numbers and its fate."""
    rng = random.Random(2026)
    for _ in range(150):
        client = IPv4Address(rng.randrange(1 << 24, 224 << 24))
        _, said, _ = up.call("GET", f"/v1/explain?service=relay&client={client}")
        assert said["region"] == up.region(f"{IPv4Address(int(client) & ~0xFF)}/24"), client
        assert len(said["candidates"]) == 8
        assert all(each["fate"] and "rtt_ms" in each for each in said["candidates"])


def test_the_control_plane_hears_who_is_answered(up: Deployment) -> None:
    """Answers and allocations reach the planner within two reports of the edge."""
    before = up.call("GET", "/v1/prices")[1]["answers"]
    for _ in range(32):
        up.region(GERMANY)
    for _ in range(3):
        up.allocate("91.0.0.7")

    def heard() -> bool:
        return bool(up.call("GET", "/v1/prices")[1]["answers"] >= before + 35)

    until(heard, "the edge has told of its answers")


def test_a_client_goes_where_it_was_measured_to_be_near(up: Deployment) -> None:
    """Samples of one /24 move its answers, and those of no other."""
    subnet = "91.7.7.0/24"
    assert up.region(subnet) == "fra"
    for batch in range(5):
        at = datetime.now(UTC).isoformat()
        samples = [
            {"client": subnet, "region": region, "rtt_ms": rtt, "at": at}
            for region, rtt in (("fra", 150), ("iad", 12))
        ]
        body = {"batch": f"measured-{batch}", "samples": samples}
        status, told, _ = up.call("POST", "/v1/measurements", body)
        assert (status, told["samples"]) == (200, 2)
    until(lambda: up.region(subnet) == "iad", "the edge goes by what was measured")
    assert up.region(GERMANY) == "fra"
    _, said, _ = up.call("GET", "/v1/explain?service=relay&client=91.7.7.9")
    assert said["region"] == "iad"
    assert {each["region"]: each["rtt_source"] for each in said["candidates"]}["iad"] == "prefix"


def test_whoami_tells_how_the_asker_was_seen(up: Deployment) -> None:
    """Resolver, client subnet, decision and the numbers of plan and status."""
    answer = up.ask(GERMANY, name="whoami.edge.example.", kind="TXT", tcp=True)
    text = " ".join(str(rdata) for rrset in answer.answer for rdata in rrset)
    for word in ("resolver=127.0.0.1", "91.0.0.0/24", "DE", "fra", "plan=", "status="):
        assert word in text


def test_a_port_in_use_is_named(up: Deployment, tmp_path: Path) -> None:
    """A second start on the same ports says which one is taken, and leaves the first alone."""
    environment = {**up.environment, "FIRSTHOP_STATE_DIR": str(tmp_path / "other")}
    second = subprocess.run(
        [sys.executable, "-m", "firsthop", "up"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert second.returncode == 1
    assert f"127.0.0.1:{up.dns}" in second.stderr
    assert "in use" in second.stderr
    assert up.region(GERMANY) == "fra"


def test_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    """A change made before Ctrl-C is there after the next start; no process is left between."""
    deployment = Deployment(tmp_path / "state", 192 + os.getpid() % 60)
    deployment.start()
    deployment.patch("/v1/regions/fra", bias_ms=7.5)
    _, revisions, _ = deployment.call("GET", "/v1/revisions")
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        assert deployment.stop() == 0
        probe.bind(("127.0.0.1", deployment.dns))
    deployment.start()
    try:
        _, region, _ = deployment.call("GET", "/v1/regions/fra")
        assert region["bias_ms"] == 7.5
        _, again, _ = deployment.call("GET", "/v1/revisions")
        assert again == revisions
    finally:
        assert deployment.stop() == 0


def test_an_edge_outlives_everything_else(up: Deployment, tmp_path: Path) -> None:
    """With control plane and database gone, an edge restarts from disk and answers the same.

    And a tampered snapshot on its disk is refused and said so.
    """
    api, key = f"http://127.0.0.1:{free_port()}", up.state / "snapshot.pub"
    edge = FedEdge(tmp_path, api=api, token="nobody-is-there", key=key)
    snapshots = edge.state / "snapshots"
    snapshots.mkdir()
    for kind in ("plan", "status", "keys"):
        name = f"{kind}.snapshot"
        (snapshots / name).write_bytes((up.state / "edge/snapshots" / name).read_bytes())
    subnets = list(PLACES)
    expected = [addresses(up.ask(each)) for each in subnets]
    with edge.running():
        until(edge.ready, "the edge is ready")
        assert [edge.answer(each) for each in subnets] == expected
        said = edge.said()
        assert said["snapshots"]["plan"]["age_s"] >= 0
        assert said["feed"]["connected_to"] is None
    plan = snapshots / "plan.snapshot"
    plan.write_bytes(plan.read_bytes().replace(b"8.68", b"9.68"))
    with edge.running():
        refused = until(lambda: edge.said().get("refused"), "the edge says what it refused")
        assert "signature" in refused
        assert not edge.said()["ready"]


def test_two_edges_split_the_same_prefixes(up: Deployment, tmp_path: Path) -> None:
    """A second edge of the same control plane keeps the same half."""
    edge = FedEdge(
        tmp_path,
        api=f"http://127.0.0.1:{up.controlplane}",
        token=up.machine_token("edge"),
        key=up.state / "snapshot.pub",
    )
    up.patch("/v1/regions/fra", weight=50)
    until(lambda: scope(up.ask(GERMANY)) == 24, "the split is in force")
    prefixes = [f"{IPv4Address((91 << 24) + (n << 8))}/24" for n in range(150)]
    with edge.running():
        until(edge.ready, "the second edge is ready")
        until(lambda: scope(ask(edge.dns, GERMANY)) == 24, "the second edge has the split")
        for prefix in prefixes:
            assert edge.answer(prefix) == addresses(up.ask(prefix))
    up.patch("/v1/regions/fra", weight=100)
    until(lambda: up.region(GERMANY) == "fra", "all are back")


def measured(up: Deployment) -> set[str]:
    """The regions that clients on this machine have measured, as the control plane has learned.

    They are the demo page's own address, 127.0.0.1: whom the page says it is only picks relays.
    """
    status, known, _ = up.call("GET", "/v1/latency?client=127.0.0.1")
    if status != 200:
        return set()
    return {each["region"] for each in known["regions"] if each["samples"] > 0}


@pytest.mark.skipif(bool(no_browser()), reason=no_browser())
def test_a_browser_talks_to_itself_through_the_nearest_relay(up: Deployment) -> None:
    """The demo page, as a client in Brazil: its relay, the transceiver region behind it, and what
    happens to the call when that relay is killed by its button."""
    asyncio.run(_talk(up))


async def _talk(up: Deployment) -> None:
    from playwright.async_api import expect

    url = f"http://127.0.0.1:{up.allocator}/demo#token={up.machine_token('signalling')}"
    async with page(url) as tab:

        async def shown(place: str) -> str:
            return str(await tab.text_content(f"#{place}"))

        await tab.select_option("#place", "200.160.0.1")
        await tab.click("#start")
        await expect(tab.locator("#echo")).to_have_text(re.compile(r"\d+"), timeout=120_000)
        await expect(tab.locator("#way-relay")).to_contain_text("gru-1 (gru)", timeout=120_000)
        assert await shown("way-relay") == f"gru-1 (gru) {up.relays}.3:3478"
        assert await shown("way-end") == "us-east-1 (us-east)"
        decoded = decode(await shown("ufrag"), route_keys(up), now=datetime.now(UTC))
        assert isinstance(decoded, Decoded)
        _, region, _ = up.call("GET", "/v1/transceiver-regions/us-east")
        assert decoded.region == region["wire_id"]
        await expect(tab.locator("#measured")).to_contain_text("5 of 5", timeout=120_000)
        await expect(tab.locator("#relays")).to_contain_text("gru-1 (gru)")
        victim = up.find("relay", "--listen", f"{up.relays}.3:3478")
        await tab.click("#kill:enabled")
        await expect(tab.locator("#said")).to_contain_text("gru-1 is dead", timeout=120_000)
        await asyncio.to_thread(victim.wait, 30)  # its parent has reaped it
        await expect(tab.locator("#way-relay")).not_to_contain_text("gru-1", timeout=120_000)
        await tab.click("#stop:enabled")
        # In Brazil it only pretended to be; what it measures counts for its own address.
        await tab.select_option("#place", "")
        await tab.click("#start:enabled")
        await expect(tab.locator("#measured")).to_have_text(
            re.compile(r"[1-9] of \d"), timeout=120_000
        )
        # Told within 11 s; learned from within 30 s, or four times as long as that takes here.
        await asyncio.to_thread(
            until, lambda: measured(up), "its samples are learned from", within=120
        )
        await tab.click("#stop:enabled")
        await tab.wait_for_selector("#start:enabled")
    until(lambda: up.region(BRAZIL) == "gru", "its relay is back")


@pytest.mark.skipif(bool(no_browser()), reason=no_browser())
@pytest.mark.skipif(bool(no_turn()), reason=no_turn())
def test_a_killed_turn_server_moves_the_next_allocation(up: Deployment, tmp_path: Path) -> None:
    """Two coturns in the fleet: a browser calls by the nearest alone; once the probers have seen it
    die, nobody is sent there."""
    asyncio.run(_call_by_turn(up, tmp_path))
    until(lambda: not up.allocate("200.160.0.1")["ice_servers"], "the fleet is as before")


async def _call_by_turn(up: Deployment, folder: Path) -> None:
    secrets = (up.state / "turn.secrets").read_text()

    def first_server() -> str:
        servers = up.allocate("200.160.0.1")["ice_servers"]
        return str(servers[0]["urls"][0]).split(":")[1] if servers else ""

    async with turn_server(folder, secrets) as near, turn_server(folder, secrets) as far:
        fleet = {"turn-gru": ("gru", near), "turn-syd": ("syd", far)}
        try:
            for name, (region, server) in fleet.items():
                body = {"id": name, "region": region, "kind": "turn", "ipv4": server.address}
                status, said, _ = up.call("POST", "/v1/relays", body)
                assert status == 201, said
            until(lambda: first_server() == near.address, "the near one is given")
            made = up.allocate("200.160.0.1")
            sessions = f"http://127.0.0.1:{up.allocator}/v1/sessions"
            bearer = {"Authorization": f"Bearer {up.machine_token('signalling')}"}
            async with page(f"http://127.0.0.1:{up.allocator}/healthz") as tab:
                await tab.evaluate(
                    "([url, headers, servers]) =>"
                    " open_call(url, headers, {audio: true, policy: 'relay', servers})",
                    [f"{sessions}?client_ip=200.160.0.1", bearer, made["ice_servers"]],
                )
                await tab.evaluate("echo('by way of coturn')")
                assert (await tab.evaluate("heard()"))["energy"] > 0
                # What it learns from answers is its end as the transceiver sees it: the way on.
                kinds = set(await tab.evaluate("local_kinds()"))
                assert kinds
                assert kinds <= {"relay", "prflx"}
                # On a slow machine the next relays' candidates are tried before the first has won.
                ends = set(await tab.evaluate("remote_ends()"))
                assert f"{up.relays}.3:3478" in ends
                assert ends <= {f"{up.relays}.{n}:3478" for n in range(1, 9)}
                await tab.evaluate("hang_up()")
            await near.kill()
            until(lambda: first_server() == far.address, "the other one is given")
        finally:
            for name in fleet:
                _, _, headers = up.call("GET", f"/v1/relays/{name}")
                up.call("DELETE", f"/v1/relays/{name}", headers={"If-Match": headers["ETag"]})


def test_unknown_names_are_refused_and_absent_ones_denied(up: Deployment) -> None:
    """REFUSED outside the zones, NXDOMAIN inside, NODATA for another type."""
    assert ask(up.dns, name="nowhere.test.").rcode() == dns.rcode.REFUSED
    assert ask(up.dns, name="absent.edge.example.").rcode() == dns.rcode.NXDOMAIN
    nodata = ask(up.dns, kind="MX")
    assert (nodata.rcode(), nodata.answer) == (dns.rcode.NOERROR, [])
