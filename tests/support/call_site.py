"""A call in a network of its own, for stacks that do not use loopback addresses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from field.namespaces import Switch
from support.calls import RELAY_PORT, RelayProcess, relay, world


@dataclass(frozen=True)
class CallSite:
    """The one relay of the plan, and the allocator."""

    relay: RelayProcess
    allocator: str
    """Its base URL."""

    @property
    def sessions(self) -> str:
        """Where offers are posted."""
        return f"{self.allocator}/v1/sessions"


@asynccontextmanager
async def call_site(tmp_path: Path, **settings: Any) -> AsyncIterator[CallSite]:
    """An allocator, a transceiver, and `firsthop relay` between them and clients."""
    with ExitStack() as stack:
        place = stack.enter_context(Switch()).place("site", "10.77.0.1")
        stack.enter_context(place.entered())
        async with (
            world(tmp_path, host=place.address, **settings) as (here, _),
            relay(tmp_path, here.transceivers, address=place.address) as between,
        ):
            here.plan([(between.address, RELAY_PORT)])
            yield CallSite(between, f"http://{place.address}:{here.allocator.port}")


async def output_of(
    *command: str | Path,
    within: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> tuple[int | None, str]:
    """Exit status of a program, and what it printed. Raises TimeoutError after `within` seconds."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(within):
        out, _ = await process.communicate()
    return process.returncode, out.decode()
