"""One transceiver process: its port, its HTTP door, keys that are read again when they change."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from firsthop_relay.transceiver.counts import Counts
from firsthop_relay.transceiver.http import serve_http
from firsthop_relay.transceiver.minting import Mint
from firsthop_relay.transceiver.port import Port
from firsthop_relay.transceiver.sessions import Sessions
from firsthop_relay.watched import FileError, KeyFile, RegionKeyFile
from firsthop_steering.candidates import candidate_lines
from firsthop_steering.model import Relay

KEY_CHECK_S = 1.0

log = structlog.get_logger("firsthop.transceiver")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransceiverSettings:
    """What `firsthop transceiver` is told."""

    listen: tuple[str, int]
    """UDP, for all sessions."""
    signalling: tuple[str, int]
    """TCP, for allocators and operators."""
    keys: Path
    """The region's password keys."""
    wire_id: int
    """This transceiver's own, as the plan has it; ufrags for another one are refused."""
    sessions: int
    """The most at a time."""
    route_keys: Path | None = None
    """For minting by itself, so that clients need no allocator."""
    relays: tuple[tuple[str, int], ...] = ()
    """Whom it then names in answers, best first."""


async def serve_transceiver(settings: TransceiverSettings) -> None:
    """Run until cancelled. Raises ListenError or FileError when it cannot start.

    SIGUSR1 has it take no new sessions, SIGUSR2 takes that back. SIGHUP, or a change of the key
    file, loads the keys again; a bad file is said so and the keys in force stay.
    """
    key_file = RegionKeyFile(settings.keys)
    route_file = KeyFile(settings.route_keys) if settings.route_keys else None
    mint = None
    if route_file is not None:
        mint = Mint(route_file.load(), _candidates(settings.relays), _utc_now)
    port = Port(Counts())
    sessions = Sessions(
        port,
        key_file.load(),
        most=settings.sessions,
        wire_id=settings.wire_id,
        clock=_utc_now,
        mint=mint,
    )
    bound = port.listen(*settings.listen)
    log.info("transceiver_listening", host=bound[0], port=bound[1], region=sessions.keys.region)
    runner = None
    try:
        runner = await serve_http(sessions, *settings.signalling)
        log.info("transceiver_signalling", host=settings.signalling[0], port=settings.signalling[1])
        await _keep(key_file, route_file, sessions)
    finally:
        if runner is not None:
            await runner.cleanup()
        await sessions.close()
        port.close()


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _candidates(relays: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """The relays' lines, each relay with its one address."""
    named = []
    for number, (host, port) in enumerate(relays, start=1):
        family = "ipv6" if ":" in host else "ipv4"
        fields = {"id": f"relay-{number}", "region": "here", family: host, "udp_port": port}
        named.append(Relay.model_validate(fields))
    return candidate_lines(named)


async def _keep(key_file: RegionKeyFile, route_file: KeyFile | None, sessions: Sessions) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, _reload_all, key_file, route_file, sessions)
    loop.add_signal_handler(signal.SIGUSR1, _drain, sessions, True)
    loop.add_signal_handler(signal.SIGUSR2, _drain, sessions, False)
    sweeping = asyncio.create_task(sessions.sweep())
    try:
        while True:
            await asyncio.wait([sweeping], timeout=KEY_CHECK_S)
            if sweeping.done():
                sweeping.result()
            if key_file.changed():
                _reload(key_file, sessions)
            if route_file is not None and route_file.changed():
                _reload_routes(route_file, sessions)
    finally:
        sweeping.cancel()
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            loop.remove_signal_handler(number)


def _drain(sessions: Sessions, wanted: bool) -> None:
    sessions.draining = wanted
    log.info("transceiver_drains" if wanted else "transceiver_accepts")


def _reload_all(key_file: RegionKeyFile, route_file: KeyFile | None, sessions: Sessions) -> None:
    _reload(key_file, sessions)
    if route_file is not None:
        _reload_routes(route_file, sessions)


def _reload_routes(route_file: KeyFile, sessions: Sessions) -> None:
    assert sessions.mint is not None
    try:
        sessions.mint.route_keys = route_file.load()
    except FileError as error:
        log.error("route_keys_refused", reason=str(error))
    else:
        log.info("route_keys_loaded", ids=sorted(sessions.mint.route_keys.by_id))


def _reload(key_file: RegionKeyFile, sessions: Sessions) -> None:
    try:
        keys = key_file.load()
    except FileError as error:
        log.error("region_keys_refused", reason=str(error))
        return
    if keys.region != sessions.keys.region:
        log.error("region_keys_refused", reason=f"they are for region {keys.region}")
        return
    sessions.keys = keys
    log.info("region_keys_loaded", ids=sorted(keys.by_id))
