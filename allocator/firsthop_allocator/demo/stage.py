"""The demo's button that kills a relay: only `firsthop up` has such a stage, and does it.

It is asked over a Unix socket in its state folder, one line of JSON each way.
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from firsthop_allocator.errors import Problem

PATH = "/demo/relays/{relay}/kill"
ANSWER_S = 5.0


async def kill(stage: Path, relay: str) -> dict[str, Any]:
    """`{"killed": relay, "pid": …, "back_in_s": …}`; Problem 404 for a relay it does not run, 503
    when it does not answer."""
    try:
        async with asyncio.timeout(ANSWER_S):
            reply: dict[str, Any] = json.loads(await _reply_to(stage, {"kill": relay}))
    except (OSError, ValueError) as error:
        raise Problem(503, "the demo's stage does not answer") from error
    if "refused" in reply:
        raise Problem(404, str(reply["refused"]))
    return reply


async def _reply_to(stage: Path, question: dict[str, str]) -> bytes:
    # Whatever the length of the folder's path: an address of unix(7) has 107 octets.
    folder = os.open(stage.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        reader, writer = await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/{stage.name}")
    finally:
        os.close(folder)
    try:
        writer.write(json.dumps(question).encode() + b"\n")
        return await reader.readline()
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
