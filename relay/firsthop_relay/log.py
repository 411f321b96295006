"""The relay's log: structlog, which comes with the first line.

A relay that restarts forwards first: structlog, with what it looks for in turn, takes as long to
import as all that a relay needs before its first packet.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

_before_first: list[Callable[[], None]] = []


def before_first_line(prepare: Callable[[], None]) -> None:
    """Called once, when there is something to say, or may soon be."""
    _before_first.append(prepare)


async def ready() -> None:
    """Import what a line needs beside the loop, which goes on forwarding, and set it up."""
    import asyncio  # sockets are bound before it is imported

    await asyncio.to_thread(import_module, "structlog")
    _prepare()


def info(event: str, **keys: object) -> None:
    """An event that an operator may want to know of."""
    _write("info", event, keys)


def error(event: str, **keys: object) -> None:
    """One that an operator should look after."""
    _write("error", event, keys)


def exception(event: str, **keys: object) -> None:
    """The same, with the exception that is being handled."""
    _write("exception", event, keys)


def _prepare() -> None:
    while _before_first:
        _before_first.pop()()


def _write(level: str, event: str, keys: dict[str, object]) -> None:
    import structlog

    _prepare()
    getattr(structlog.get_logger("firsthop.relay"), level)(event, **keys)
