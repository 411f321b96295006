"""The token in the URL that `firsthop up` prints."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from firsthop.up.probing import new_demo_token

pytestmark = pytest.mark.database


async def test_the_demo_has_one_short_lived_token_of_its_own(api: Any) -> None:
    """A URL is copied, logged and kept in histories; each start deletes the one before."""
    now = datetime.now(UTC)
    first = await new_demo_token(api.url, api.token, now)
    second = await new_demo_token(api.url, api.token, now)
    assert first != second
    known = [each for each in (await api.get("/v1/tokens")).body["items"] if "demo" in each["name"]]
    assert [each["role"] for each in known] == ["allocator"]
    assert datetime.fromisoformat(known[0]["expires_at"]) == now + timedelta(hours=1)
