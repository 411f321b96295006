"""Debian's Firefox ESR as the client of a call, driven by WebDriver BiDi (W3C), which it speaks."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from support.browsers import SCRIPT

FIREFOX = "/usr/bin/firefox-esr"
START_S = 120.0
PREFERENCES = {
    "media.navigator.permission.disabled": True,
    "media.navigator.streams.fake": True,
    "media.devices.insecure.enabled": True,
    "media.getusermedia.insecure.enabled": True,
    "media.autoplay.default": 0,
    "app.normandy.enabled": False,
    "browser.safebrowsing.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "devtools.jsonview.enabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "",
    "toolkit.telemetry.enabled": False,
}


def why_not() -> str:
    """Why it cannot be driven here; empty where it can."""
    return "" if os.access(FIREFOX, os.X_OK) else f"{FIREFOX} is not installed"


class Tab:
    """One browsing context, with the functions of `browser_call.js` in its page."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._context = ""

    async def open(self, url: str) -> None:
        """Begin a session, and load `url`."""
        await self._command("session.new", capabilities={})
        tree = await self._command("browsingContext.getTree")
        self._context = tree["contexts"][0]["context"]
        await self._command(
            "browsingContext.navigate", context=self._context, url=url, wait="complete"
        )
        await self.evaluate(f"(() => {{ {SCRIPT} }})()")

    async def evaluate(self, expression: str, argument: Any = None) -> Any:
        """Its value, awaited; with an `argument` it is a function. AssertionError if it throws."""
        called = expression if argument is None else f"({expression})({json.dumps(argument)})"
        said = await self._command(
            "script.callFunction",
            functionDeclaration=f"async () => JSON.stringify(await {called})",
            target={"context": self._context},
            awaitPromise=True,
        )
        assert said["type"] == "success", said["exceptionDetails"]["text"]
        text = said["result"].get("value")
        return None if text is None else json.loads(text)

    async def _command(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            said: dict[str, Any] = await self._socket.receive_json()
            if said.get("id") == number:
                assert said["type"] == "success", said
                result: dict[str, Any] = said["result"]
                return result


@asynccontextmanager
async def page(url: str) -> AsyncIterator[Tab]:
    """A fresh Firefox at `url`."""
    with tempfile.TemporaryDirectory(prefix="firefox-", ignore_cleanup_errors=True) as profile:
        lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in PREFERENCES.items()]
        (Path(profile) / "user.js").write_text("\n".join(lines))
        process = await asyncio.create_subprocess_exec(
            FIREFOX, "--headless", "--no-remote", "--profile", profile,
            "--remote-debugging-port", "0",
            env={**os.environ, "HOME": profile}, stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            async with asyncio.timeout(START_S):
                address = await _listening(process)
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(f"{address}/session", max_msg_size=0) as socket,
            ):
                tab = Tab(socket)
                await tab.open(url)
                yield tab
        finally:
            os.killpg(process.pid, 9)
            await process.wait()


async def _listening(process: asyncio.subprocess.Process) -> str:
    assert process.stderr is not None
    said = ""
    while line := await process.stderr.readline():
        said += line.decode(errors="replace")
        if found := re.search(r"WebDriver BiDi listening on (ws://\S+)", said):
            return found[1]
    raise AssertionError(f"Firefox ended:\n{said}")
