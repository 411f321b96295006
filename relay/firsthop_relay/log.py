"""The relay's log: structlog, imported when the first line is logged.

A relay that restarts starts to forward before that: importing structlog and its dependencies takes
as long as importing everything that a relay needs before its first packet.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

_before_first: list[Callable[[], None]] = []


def before_first_line(prepare: Callable[[], None]) -> None:
    """Register a function to be called once, before the first line is logged."""
    _before_first.append(prepare)


async def ready() -> None:
    """Import structlog in a thread, while the loop goes on forwarding, and set it up."""
    import asyncio  # imported here, so that sockets are bound first

    await asyncio.to_thread(import_module, "structlog")
    _prepare()


def info(event: str, **keys: object) -> None:
    """Log an event at level info."""
    _write("info", event, keys)


def error(event: str, **keys: object) -> None:
    """Log an event at level error."""
    _write("error", event, keys)


def exception(event: str, **keys: object) -> None:
    """Log an event at level error, with the exception that is being handled."""
    _write("exception", event, keys)


def _prepare() -> None:
    while _before_first:
        _before_first.pop()()


def _write(level: str, event: str, keys: dict[str, object]) -> None:
    import structlog

    _prepare()
    getattr(structlog.get_logger("firsthop.relay"), level)(event, **keys)
