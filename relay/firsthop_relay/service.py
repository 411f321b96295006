"""One relay process: sockets, keys that are read again when they change, metrics."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

import structlog

from firsthop_relay.keyfile import KeyFile, KeyFileError
from firsthop_relay.metrics import serve_metrics
from firsthop_relay.server import RelayServer

KEY_CHECK_S = 1.0

log = structlog.get_logger("firsthop.relay")


async def serve_relay(
    listen: Sequence[tuple[str, int]],
    route_keys: Path,
    *,
    metrics: tuple[str, int] | None = None,
) -> None:
    """Run until cancelled. Raises ListenError or KeyFileError when it cannot start.

    SIGHUP, or another time or size of the key file, loads the keys again; a bad file is said so
    and the keys in force stay.
    """
    key_file = KeyFile(route_keys)
    server = RelayServer(key_file.load())
    runner = None
    try:
        for host, port in listen:
            bound = server.listen(host, port)
            log.info("relay_listening", host=bound[0], port=bound[1])
        if metrics is not None:
            runner = await serve_metrics(server.counters, *metrics)
        await _follow_keys(key_file, server)
    finally:
        server.close()
        if runner is not None:
            await runner.cleanup()


async def _follow_keys(key_file: KeyFile, server: RelayServer) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, _reload, key_file, server)
    try:
        while True:
            await asyncio.sleep(KEY_CHECK_S)
            if key_file.changed():
                _reload(key_file, server)
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


def _reload(key_file: KeyFile, server: RelayServer) -> None:
    try:
        server.keys = key_file.load()
    except KeyFileError as error:
        log.error("route_keys_refused", reason=str(error))
    else:
        log.info("route_keys_loaded", ids=sorted(server.keys.by_id))
