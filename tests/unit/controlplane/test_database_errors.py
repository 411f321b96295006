"""What answers and logs say of a fault of the database."""

from __future__ import annotations

import errno

import asyncpg
import pytest
from sqlalchemy.exc import OperationalError

from firsthop_controlplane.store.engine import failure


def wrapped(error: Exception) -> OperationalError:
    """The error as SQLAlchemy raises it, with statement and values in its text."""
    adapted = Exception(str(error))
    adapted.__cause__ = error
    return OperationalError("SELECT secret", {"token": "of-mine"}, adapted)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            OSError(errno.ECONNREFUSED, "to ('10.0.0.5', 5432)"),
            "Connection refused",
        ),
        (OSError("Multiple exceptions: [Errno 111] ('10.0.0.5', 5432)"), "OSError"),
        (TimeoutError(), "TimeoutError"),
        (
            asyncpg.InvalidPasswordError('password authentication failed for user "firsthop"'),
            "InvalidPasswordError (28P01)",
        ),
        (wrapped(asyncpg.LockNotAvailableError("x")), "LockNotAvailableError (55P03)"),
        (wrapped(asyncpg.ConnectionDoesNotExistError("x")), "ConnectionDoesNotExistError (08003)"),
    ],
)
def test_neither_address_nor_account_nor_statement(error: Exception, reason: str) -> None:
    """Kind and code only: `/readyz` shows them to everybody."""
    assert failure(error) == reason
