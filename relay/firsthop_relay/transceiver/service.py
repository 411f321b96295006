"""One transceiver process: its UDP port, its HTTP API, and keys that are reloaded on change."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol

import structlog

from firsthop_ice.candidates import UdpAddress, candidate_lines
from firsthop_relay.process.reloading_file import FileError, KeyFile, RegionKeyFile
from firsthop_relay.transceiver.counts import TransceiverCounters
from firsthop_relay.transceiver.http import serve_http
from firsthop_relay.transceiver.minting import Mint
from firsthop_relay.transceiver.port import MediaPort
from firsthop_relay.transceiver.sessions import Sessions

KEY_CHECK_S = 1.0
LINGER_S = 3.0
"""Seconds after the drain is announced until all edges and relays have received it."""
LOOK_S = 0.1
"""Seconds between two checks whether the last session of a draining transceiver has ended."""

log = structlog.get_logger("firsthop.transceiver")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransceiverSettings:
    """The options of `firsthop transceiver`."""

    listen: tuple[str, int]
    """UDP address for all sessions."""
    signalling: tuple[str, int]
    """TCP address for allocators and operators."""
    keys: Path
    """File with the region's password keys."""
    wire_id: int | None
    """The wire id of this transceiver in the plan; ufrags for another transceiver are refused.
    None: the wire id is assigned at registration."""
    sessions: int
    """Most sessions at a time."""
    route_keys: Path | None = None
    """File with route keys, to mint credentials here, so that clients need no allocator."""
    relays: tuple[tuple[str, int], ...] = ()
    """The relays that answers offer if credentials are minted here, best first."""
    grace_s: float | None = None
    """Seconds for which open sessions may go on after SIGTERM; None: they end at once."""


class Speaker(Protocol):
    """Registers this transceiver and reports to the control plane."""

    async def run(self) -> None: ...

    async def wire_id(self) -> int: ...

    def begin(self, sessions: Callable[[], int]) -> None: ...

    def drain(self, draining: bool) -> None: ...

    def stop(self, at: datetime) -> None: ...

    async def end(self, now: datetime) -> None: ...


async def serve_transceiver(settings: TransceiverSettings, speaker: Speaker | None = None) -> None:
    """Run until cancelled. Raises ListenError or FileError if it cannot start.

    A `speaker` registers the transceiver, gets its wire id, and reports. If there is a grace
    period, the transceiver takes no new sessions after a cancellation, and ends with its last
    session or after the grace period; a second cancellation ends it at once.

    SIGUSR1 starts a drain, SIGUSR2 ends it. SIGHUP, or a change of a key file, reloads the keys; if
    a file is unusable, that is logged, and the keys in force stay.
    """
    key_file = RegionKeyFile(settings.keys)
    route_file = KeyFile(settings.route_keys) if settings.route_keys else None
    mint = None
    if route_file is not None:
        mint = Mint(route_file.load(), _candidates(settings.relays), _utc_now)
    async with _speaking(speaker):
        wire_id = settings.wire_id
        if wire_id is None:
            assert speaker is not None
            wire_id = await speaker.wire_id()
        await _serve(settings, wire_id, speaker, (key_file, route_file), mint)


async def _serve(
    settings: TransceiverSettings,
    wire_id: int,
    speaker: Speaker | None,
    files: tuple[RegionKeyFile, KeyFile | None],
    mint: Mint | None,
) -> None:
    key_file, route_file = files
    port = MediaPort(TransceiverCounters())
    sessions = Sessions(
        port,
        key_file.load(),
        limit=settings.sessions,
        wire_id=wire_id,
        clock=_utc_now,
        mint=mint,
    )
    bound = port.listen(*settings.listen)
    log.info("transceiver.listening", host=bound[0], port=bound[1], region=sessions.keys.region)
    runner = None
    try:
        runner = await serve_http(sessions, *settings.signalling)
        log.info("signalling.listening", host=settings.signalling[0], port=settings.signalling[1])
        if speaker is not None:
            speaker.begin(sessions.counts.open_sessions)
        keeping = asyncio.create_task(_keep(key_file, route_file, sessions, speaker))
        try:
            await asyncio.wait([keeping])
            keeping.result()
        except asyncio.CancelledError:
            if settings.grace_s is not None:
                await _drain_out(sessions, speaker, settings.grace_s)
            raise
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
    finally:
        if runner is not None:
            await runner.cleanup()
        await sessions.close()
        port.close()


@contextlib.asynccontextmanager
async def _speaking(speaker: Speaker | None) -> AsyncIterator[None]:
    """Runs `speaker` within the context, then reports that this transceiver has ended. An error of
    `speaker` cancels the caller, and is raised at the end."""
    if speaker is None:
        yield
        return
    serving, speaking = asyncio.current_task(), asyncio.create_task(speaker.run())
    assert serving is not None
    speaking.add_done_callback(lambda done: None if done.cancelled() else serving.cancel())
    try:
        yield
    finally:
        if speaking.done():
            speaking.result()
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
        await speaker.end(_utc_now())


async def _drain_out(sessions: Sessions, speaker: Speaker | None, grace_s: float) -> None:
    """Take no new sessions, and wait for the open ones to end."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    _drain(sessions, speaker, True)
    if speaker is not None:
        speaker.stop(_utc_now() + timedelta(seconds=grace_s))
    linger_s = LINGER_S if speaker is not None else 0.0
    while (waited_s := loop.time() - began) < grace_s:
        if waited_s >= linger_s and not sessions.counts.open_sessions():
            return
        await asyncio.sleep(LOOK_S)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _candidates(relays: tuple[tuple[str, int], ...]) -> tuple[str, ...]:
    """Candidate lines of the relays."""
    return candidate_lines([UdpAddress(ip_address(host), port) for host, port in relays])


async def _keep(
    key_file: RegionKeyFile,
    route_file: KeyFile | None,
    sessions: Sessions,
    speaker: Speaker | None,
) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, _reload_all, key_file, route_file, sessions)
    loop.add_signal_handler(signal.SIGUSR1, _drain, sessions, speaker, True)
    loop.add_signal_handler(signal.SIGUSR2, _drain, sessions, speaker, False)
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


def _drain(sessions: Sessions, speaker: Speaker | None, wanted: bool) -> None:
    sessions.draining = wanted
    if speaker is not None:
        speaker.drain(wanted)
    log.info("transceiver.draining" if wanted else "transceiver.accepting")


def _reload_all(key_file: RegionKeyFile, route_file: KeyFile | None, sessions: Sessions) -> None:
    _reload(key_file, sessions)
    if route_file is not None:
        _reload_routes(route_file, sessions)


def _reload_routes(route_file: KeyFile, sessions: Sessions) -> None:
    assert sessions.mint is not None
    try:
        sessions.mint.route_keys = route_file.load()
    except FileError as error:
        log.error("route_keys.refused", reason=str(error))
    else:
        log.info("route_keys.loaded", ids=sorted(sessions.mint.route_keys.by_id))


def _reload(key_file: RegionKeyFile, sessions: Sessions) -> None:
    try:
        keys = key_file.load()
    except FileError as error:
        log.error("region_keys.refused", reason=str(error))
        return
    if keys.region != sessions.keys.region:
        log.error("region_keys.refused", reason=f"they are for region {keys.region}")
        return
    sessions.keys = keys
    log.info("region_keys.loaded", ids=sorted(keys.by_id))
