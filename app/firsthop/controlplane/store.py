"""Creates tokens directly in the database, if the API is not available or no token is known."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from firsthop_controlplane.access.keyring import token_changed
from firsthop_controlplane.access.tokens import TokenDraft, entry, new_row, new_secret
from firsthop_controlplane.bodies.validation import validated
from firsthop_controlplane.configuration.actor import Actor
from firsthop_controlplane.configuration.revisions import lock, open_session
from firsthop_controlplane.errors import BrokenRule, conflict
from firsthop_controlplane.store.engine import STATEMENT_TIMEOUT_S, create_engine
from firsthop_controlplane.store.ledger import TokenRow

OPERATOR = Actor("command line")


async def create_token(url: str, values: dict[str, Any]) -> str:
    """Make a token in the database at `url`; returns its secret. Raises Refused."""
    draft, secret = validated(TokenDraft, values), new_secret()
    now = datetime.now(UTC)
    engine = create_engine(
        url, application="firsthop-token", statement_timeout_s=STATEMENT_TIMEOUT_S
    )
    try:
        async with open_session(engine) as session, session.begin():
            await lock(session)
            if await session.scalar(select(TokenRow).where(TokenRow.name == draft.name)):
                raise conflict(
                    f"there is a token {draft.name} already", [BrokenRule("name", "taken")]
                )
            row = new_row(draft, secret, OPERATOR.name, now)
            session.add(row)
            after = entry(row).model_dump(mode="json")
            await token_changed(session, OPERATOR, "created", row, now, after=after)
    finally:
        await engine.dispose()
    return secret
