"""Long work in slices, between which checks go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

SLICE = 100  # a millisecond or so of whatever is done with thousands of targets

Item = TypeVar("Item")


async def unhurried(items: Iterable[Item]) -> AsyncIterator[Item]:
    """The items, with a turn for everybody else after every hundred."""
    for number, item in enumerate(items, start=1):
        yield item
        if number % SLICE == 0:
            await asyncio.sleep(0)
