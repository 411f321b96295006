"""Debian's coturn on a loopback address of its own, with the deployment's secret."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from support.standin import DEADLINE_S, own_address

TURNSERVER = "/usr/bin/turnserver"
PORT = 3478


def why_not() -> str:
    """Why no TURN server can be run here; empty where one can."""
    return "" if os.access(TURNSERVER, os.X_OK) else f"{TURNSERVER} is not installed (coturn)"


@dataclass
class TurnServer:
    address: str
    process: asyncio.subprocess.Process

    async def kill(self) -> None:
        """`kill -9`, if it lives."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def turn_server(folder: Path, secrets: str) -> AsyncIterator[TurnServer]:
    """coturn under `secrets`, the lines that the control plane publishes; ready when it listens."""
    address = own_address()
    configuration = folder / f"turn-{address}.conf"
    configuration.write_text(
        f"listening-ip={address}\nrelay-ip={address}\nlistening-port={PORT}\nrealm=test\n"
        "allow-loopback-peers\nno-tls\nno-dtls\nno-cli\nno-multicast-peers\n"
        f"log-file={folder}/turn-{address}.log\nsimple-log\npidfile={folder}/turn-{address}.pid\n"
        f"userdb={folder}/turn-{address}.db\nno-rfc5780\ncli-password=x\nfingerprint\n{secrets}"
    )
    process = await asyncio.create_subprocess_exec(
        TURNSERVER,
        "-c",
        str(configuration),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    server = TurnServer(address, process)
    try:
        await _listens(server)
        yield server
    finally:
        await server.kill()


async def _listens(server: TurnServer) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            assert server.process.returncode is None, "coturn has ended by itself"
            with suppress(OSError):
                _, writer = await asyncio.open_connection(server.address, PORT)
                writer.close()
                return
            await asyncio.sleep(0.05)
