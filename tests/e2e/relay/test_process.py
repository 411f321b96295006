"""The relay as a process: silence to strangers, keys that change, clear words on a bad start."""

from __future__ import annotations

import os
import random
import signal
import socket
from pathlib import Path

import pytest
from aiohttp import ClientSession

from firsthop_healthchecks.probes import Failed, Passed
from firsthop_healthchecks.probes.stun import StunProbe
from support.standin import keyset, own_address, running, stun_target, write_route_keys

pytestmark = pytest.mark.e2e


async def counters(address: str) -> dict[str, float]:
    async with (
        ClientSession() as session,
        session.get(f"http://{address}:9000/metrics") as response,
    ):
        text = await response.text()
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


async def test_strangers_get_silence_and_counters_add_up(tmp_path: Path) -> None:
    """Ten thousand datagrams of junk: not one byte back, and probes are answered all the same."""
    keys, address, probe = keyset(), own_address(), StunProbe()
    path = write_route_keys(tmp_path / "keys", keys)
    listen = ("--listen", f"{address}:3478", "--metrics", f"{address}:9000")
    async with running("relay", *listen, "--route-keys", str(path)) as relay:
        await relay.said("relay.listening")
        chance = random.Random(7)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.setblocking(False)
            for _ in range(10_000):
                junk = chance.randbytes(chance.randrange(120))
                framed = b"\0\1\0\x50\x21\x12\xa4\x42" + junk
                stranger.sendto(chance.choice((junk, framed)), (address, 3478))
            assert isinstance(await probe.check(stun_target(address, keys, timeout_s=5)), Passed)
            with pytest.raises(BlockingIOError):
                stranger.recv(1)
        await probe.close()
        counted = await counters(address)
        dropped = sum(v for name, v in counted.items() if "packets_dropped" in name)
        answered = counted["firsthop_relay_packets_answered_total"]
        assert answered == 1
        assert counted["firsthop_relay_packets_received_total"] == answered + dropped
        assert dropped > 100
        relay.send(signal.SIGINT)
        assert await relay.ended() == 0


@pytest.mark.parametrize("by_signal", [True, False])
async def test_keys_change_while_it_runs(tmp_path: Path, by_signal: bool) -> None:
    """On SIGHUP, or by itself within seconds; a broken file changes nothing."""
    old, new, address, probe = keyset(), keyset(), own_address(), StunProbe()
    path = write_route_keys(tmp_path / "keys", old)
    target = stun_target(address, old, timeout_s=5)
    async with running("relay", "--listen", f"{address}:3478", "--route-keys", str(path)) as relay:
        await relay.said("relay.listening")
        path.write_text("broken")
        await relay.said("route_keys.refused")
        assert isinstance(await probe.check(target), Passed)
        write_route_keys(path, new)
        if by_signal:
            relay.send(signal.SIGHUP)
        await relay.said("route_keys.loaded")
        assert isinstance(await probe.check(stun_target(address, new, timeout_s=5)), Passed)
        silence = await probe.check(target.model_copy(update={"timeout_s": 0.1}))
        assert isinstance(silence, Failed)
        await probe.close()


async def test_several_addresses_of_both_families(tmp_path: Path) -> None:
    keys, address, probe = keyset(), own_address(), StunProbe()
    path = write_route_keys(tmp_path / "keys", keys)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as free:
        try:
            free.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
        port = free.getsockname()[1]
    listen = f"{address}:3478,[::1]:{port}"
    async with running(
        "relay", FIRSTHOP_RELAY_LISTEN=listen, FIRSTHOP_ROUTE_KEYS=str(path)
    ) as relay:
        await relay.said(f'"port": {port}')
        for target in (
            stun_target(address, keys, timeout_s=5),
            stun_target("::1", keys, port=port, timeout_s=5),
        ):
            assert isinstance(await probe.check(target), Passed)
    await probe.close()


async def test_a_port_in_use_is_named_in_one_line(tmp_path: Path) -> None:
    address = own_address()
    path = write_route_keys(tmp_path / "keys", keyset())
    arguments = ("--listen", f"{address}:3478", "--route-keys", str(path))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((address, 3478))
        async with running("relay", *arguments) as relay:
            assert await relay.ended() == 1
            refusal = f"firsthop: UDP {address}:3478 is in use by another process\n"
            assert relay.log == refusal


async def test_open_key_files_are_refused(tmp_path: Path) -> None:
    path = write_route_keys(tmp_path / "keys", keyset())
    os.chmod(path, 0o644)
    arguments = ("--listen", f"{own_address()}:3478", "--route-keys", str(path))
    async with running("relay", *arguments) as relay:
        assert await relay.ended() == 1
        assert relay.log == f"firsthop: {path}: mode 0644 is too open, use 0600\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("prober", "--api-url", "ftp://x"), "must start with http"),
        (("prober", "--prober-id", "No!"), "lower-case"),
        (("prober",), "FIRSTHOP_TOKEN"),
        (("agent", "--token-file", "/nonexistent"), "token file"),
        (("relay", "--listen", "nowhere", "--route-keys", "x"), "ADDRESS:PORT"),
        (("relay", "--listen", "", "--route-keys", "x"), "ADDRESS:PORT"),
    ],
)
async def test_nonsense_options_are_refused(arguments: tuple[str, ...], words: str) -> None:
    """Exit status 2, and the words name the rule."""
    sane = {
        "FIRSTHOP_API_URL": "http://127.0.0.1:1",
        "FIRSTHOP_PROBER_ID": "p-1",
        "FIRSTHOP_RELAY_ID": "fra-1",
        "FIRSTHOP_VANTAGE": "lab",
    }
    async with running(*arguments, **sane) as process:
        assert await process.ended() == 2
        assert words in " ".join(process.log.replace("│", " ").split())
