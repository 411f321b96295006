"""Kills a relay for the demo page by a request to `firsthop up`, which runs the relays.

`firsthop up` listens on a Unix socket in its state folder. Request and reply are one line of JSON
each.
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
    """Returns `{"killed": relay, "pid": …, "back_in_s": …}`.

    Raises Problem 404 if `firsthop up` does not run that relay, and 503 if it does not answer.
    """
    try:
        async with asyncio.timeout(ANSWER_S):
            reply: dict[str, Any] = json.loads(await _reply_to(stage, {"kill": relay}))
    except (OSError, ValueError) as error:
        raise Problem(503, "firsthop up does not answer") from error
    if "refused" in reply:
        raise Problem(404, str(reply["refused"]))
    return reply


async def _reply_to(stage: Path, question: dict[str, str]) -> bytes:
    # By way of /proc: the folder's path may be longer than the 107 octets of a unix(7) address.
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
