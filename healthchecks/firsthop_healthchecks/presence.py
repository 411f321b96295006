"""Is the relay's process there? A connection to one of its TCP ports ends when the process does.

So a crash is noticed within milliseconds, and without asking anything. Only a refused connection
says that nobody is there: silence may be the network's, or that of a busy process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import NoReturn

CONNECT_S = 1.0
PAUSE_S = 0.2
"""Between two looks: a port that accepts and hangs up at once must not be stormed."""
_ANYTHING = 4096


async def watch_presence(host: str, port: int, found: Callable[[bool], None]) -> NoReturn:
    """Tell `found` whether somebody accepts connections there, at every look, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        looked_at = loop.time()
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await asyncio.open_connection(host, port)
        except ConnectionRefusedError:
            found(False)
        except (OSError, TimeoutError):
            pass  # it may be there: no route, no socket, no time
        else:
            found(True)
            await _until_it_ends(reader)
            writer.transport.abort()
        # At once after a connection that lasted, for then the process may just have ended.
        await asyncio.sleep(max(0.0, looked_at + PAUSE_S - loop.time()))


async def _until_it_ends(reader: asyncio.StreamReader) -> None:
    """Whatever comes is thrown away; nothing is asked, so nothing should come."""
    with contextlib.suppress(OSError):
        while await reader.read(_ANYTHING):
            pass
