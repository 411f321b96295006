"""Checks whether the parts of a deployment answer, and stores the demo's document."""

from __future__ import annotations

import contextlib
import socket
import struct
from datetime import datetime, timedelta

import aiohttp

from firsthop.addresses import Listen
from firsthop.up.demo import SERVICE
from firsthop_dns.wire.edns import SERVFAIL
from firsthop_steering.plan.document import Document

DEMO_PAGE = "demo-page"
DEMO_TOKEN_LIFETIME = timedelta(hours=1)
"""For this long the URL that `firsthop up` prints can be used."""


class DemoRefusedError(Exception):
    """The control plane does not accept the demo's document."""


async def is_ready(api: str) -> bool:
    """Whether the control plane at this URL is ready."""
    with contextlib.suppress(aiohttp.ClientError, OSError):
        async with aiohttp.ClientSession() as session, session.get(f"{api}/readyz") as response:
            return response.status == 200
    return False


async def seeded_document(api: str, token: str, demo: Document) -> Document:
    """The stored document; if there is none yet, the demo's is stored first.

    Every wire id in it is assigned. Raises DemoRefusedError.
    """
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        document = await _document(session, api)
        async with session.get(f"{api}/v1/revisions", params={"limit": "1"}) as response:
            response.raise_for_status()
            if (await response.json())["items"]:
                return document
        body = {"document": demo.model_dump(mode="json"), "message": "The demo of firsthop up"}
        async with session.post(f"{api}/v1/changesets", json=body) as response:
            if response.status >= 400:
                raise DemoRefusedError(f"the demo was refused: {await response.text()}")
        return await _document(session, api)


async def new_demo_token(api: str, token: str, now: datetime) -> str:
    """The secret of a new token for the demo page; the one of an earlier start is deleted.

    It is printed in a URL, so it lasts for DEMO_TOKEN_LIFETIME only. Raises aiohttp.ClientError.
    """
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as session:
        async with session.get(f"{api}/v1/tokens", params={"limit": "10000"}) as response:
            known = (await response.json())["items"]
        for each in known:
            if each["name"] == DEMO_PAGE:
                old = f"{api}/v1/tokens/{each['id']}"
                await session.delete(old, headers={"If-Match": "*"})
        expires_at = (now + DEMO_TOKEN_LIFETIME).isoformat()
        body = {"name": DEMO_PAGE, "role": "allocator", "expires_at": expires_at}
        async with session.post(f"{api}/v1/tokens", json=body) as response:
            return str((await response.json())["secret"])


async def _document(session: aiohttp.ClientSession, api: str) -> Document:
    async with session.get(f"{api}/v1/document") as response:
        response.raise_for_status()
        return Document.model_validate_json(await response.read())


def dns_answers(dns: Listen) -> bool:
    """Whether a query for the demo service gets an answer other than SERVFAIL: the table exists."""
    labels = b"".join(bytes([len(x)]) + x.encode() for x in SERVICE.rstrip(".").split("."))
    query = struct.pack(">6H", 1, 0, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)
    family = socket.AF_INET6 if ":" in dns[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(0.5)
        try:
            client.connect(dns)
            client.send(query)
            answer = client.recv(512)
        except OSError:
            return False
    return len(answer) >= 12 and answer[3] & 0xF != SERVFAIL
