"""Debian's Chromium, driven by Playwright, as the client of a call."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--allow-loopback-in-peer-connection",
    "--autoplay-policy=no-user-gesture-required",
)
SCRIPT = (Path(__file__).parent / "browser_call.js").read_text()


def why_not() -> str:
    """Why no browser can be driven here; empty where one can."""
    if not os.access(CHROMIUM, os.X_OK):
        return f"{CHROMIUM} is not installed"
    try:
        import playwright.async_api  # noqa: F401
    except ImportError:
        return "playwright is not installed"
    return ""


@asynccontextmanager
async def page(
    url: str, *flags: str, where: AbstractContextManager[None] | None = None
) -> AsyncIterator[Any]:
    """A fresh Chromium at `url`, with the functions of `browser_call.js` in its page.

    `where` is entered while it starts: a network namespace, which its processes then keep.
    """
    from playwright.async_api import async_playwright

    async with AsyncExitStack() as stack:
        with where or nullcontext():
            driver = await stack.enter_async_context(async_playwright())
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
        try:
            opened = await browser.new_page()
            await opened.goto(url)
            await opened.evaluate(SCRIPT)
            yield opened
        finally:
            await browser.close()
