"""Database connections: URL, pool, time-outs; which errors mean that it is unreachable."""

from __future__ import annotations

import os

import asyncpg
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    OperationalError,
    ResourceClosedError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from firsthop_controlplane.errors import ControlPlaneError

CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 10
"""Every normal statement takes less than a second; one that takes this long waits in vain."""
LOCK_TIMEOUT_S = 5
"""How long a change waits for earlier changes; then it is refused with 503."""
_TRY_LATER = (
    "08",  # connection exception
    "53",  # insufficient resources
    "55P03",  # lock not available
    "57",  # operator intervention: shutdown, starting up, query cancelled by a time-out
    "40",  # serialization failure, deadlock
)


_LOST = (
    OperationalError,
    InterfaceError,
    PoolTimeoutError,
    ResourceClosedError,  # a session that was ended while it was used
    asyncpg.InterfaceError,
    OSError,  # refused, timed out, or no socket where a server should be
)


class BadDatabaseUrl(ControlPlaneError):  # noqa: N818
    """FIRSTHOP_DATABASE_URL cannot be used."""


def database_url(text: str) -> URL:
    """A URL for asyncpg, from a URL for libpq, Heroku or SQLAlchemy."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise BadDatabaseUrl("the database URL is not a valid URL") from None
    if url.drivername.partition("+")[0] not in ("postgres", "postgresql"):
        raise BadDatabaseUrl(f"the database must be postgresql://…, not {url.drivername}://…")
    query = dict(url.query)
    if "sslmode" in query:  # libpq's name for what asyncpg calls ssl
        query["ssl"] = query.pop("sslmode")
    return url.set(drivername="postgresql+asyncpg", query=query)


def create_engine(url: str, *, application: str, statement_timeout_s: float) -> AsyncEngine:
    """A pool whose sessions have lock and statement time-outs and survive a database restart."""
    return create_async_engine(
        database_url(url),
        pool_size=8,
        max_overflow=8,
        pool_timeout=CONNECT_TIMEOUT_S,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args=_session(application, statement_timeout_s),
    )


def create_lone_engine(url: str, *, application: str, statement_timeout_s: float) -> AsyncEngine:
    """An engine without a pool, for one session that lasts as long as the process."""
    return create_async_engine(
        database_url(url),
        poolclass=NullPool,
        hide_parameters=True,
        connect_args=_session(application, statement_timeout_s),
    )


def _session(application: str, statement_timeout_s: float) -> dict[str, object]:
    return {
        "timeout": CONNECT_TIMEOUT_S,
        # The server's own time-outs do not help if the network loses its response.
        "command_timeout": statement_timeout_s + 5,
        "server_settings": {
            "application_name": application,
            "lock_timeout": f"{LOCK_TIMEOUT_S}s",
            "statement_timeout": f"{int(statement_timeout_s * 1000)}ms",
            "idle_in_transaction_session_timeout": "60s",
            "timezone": "UTC",
        },
    }


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's five-character code of an error; empty if it has none."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return str(getattr(original, "sqlstate", None) or "")


def failure(error: BaseException) -> str:
    """What went wrong with the database, for answers and logs: without statement, values, address
    or account, which the texts of drivers contain."""
    each = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    original = each.__cause__ or each
    if isinstance(original, OSError) and original.errno is not None:
        return os.strerror(original.errno)
    code = sqlstate(original)
    return type(original).__name__ + (f" ({code})" if code else "")


def unavailable(error: BaseException) -> bool:
    """Whether the error means that the database cannot be reached now."""
    if bad_value(error):
        return False
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if sqlstate(error).startswith(_TRY_LATER):
        return True
    return isinstance(error, _LOST)


def bad_value(error: BaseException) -> bool:
    """Whether the database or its driver refused a value or a row, which the caller sent."""
    each: BaseException | None = error
    while each is not None:
        if isinstance(each, asyncpg.DataError) or sqlstate(each).startswith(("22", "23", "54")):
            return True
        each = each.orig if isinstance(each, DBAPIError) else each.__cause__
    return False
