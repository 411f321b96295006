"""The control socket of the demo page, which may kill a relay of this machine."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firsthop.up.children import Child

REQUEST_S = 5.0
NAME = "stage.sock"


class Stage:
    """Answers on a Unix socket to which only this user may connect, one request per connection."""

    def __init__(self, state_dir: Path, relay: Callable[[str], Child | None]) -> None:
        self.path = state_dir / NAME
        self._relay = relay
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Start listening."""
        self.path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        os.fchmod(listener.fileno(), 0o600)  # before bind: never open to others
        # Works for any length of the folder's path; an address of unix(7) has only 107 octets.
        folder = os.open(self.path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            listener.bind(f"/proc/self/fd/{folder}/{NAME}")
        finally:
            os.close(folder)
        self._server = await asyncio.start_unix_server(self._answer, sock=listener)

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self.path.unlink(missing_ok=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_S):
                request = json.loads(await reader.readline())
            writer.write(json.dumps(self._reply(request)).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError):  # the demo page reports that there was no answer
            pass
        finally:
            writer.close()

    def _reply(self, request: Any) -> dict[str, Any]:
        name = request.get("kill") if isinstance(request, dict) else None
        child = self._relay(name) if isinstance(name, str) else None
        if child is None:
            return {"refused": f"relay {name} does not run on this machine"}
        pid = child.kill()
        if pid is None:
            return {"refused": f"relay {name} is dead already"}
        return {"killed": name, "pid": pid, "back_in_s": child.restart_after_s}
