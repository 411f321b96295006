"""Migrates a database to this release's schema; several processes may start at once."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from firsthop_controlplane.errors import ControlPlaneError
from firsthop_controlplane.store.engine import create_engine

MIGRATION_LOCK = 0x66697273746D6967  # "firstmig"
STATEMENT_TIMEOUT_S = 300
"""The lock time-out is the usual one: while a migration waits for a table it blocks all later
queries of that table, so it must give up soon."""
TURN_TIMEOUT_S = 120
"""How long to wait for another process that is migrating."""


_NEW_LINEAGE = text(
    "UPDATE store SET lineage = :lineage, created_at = now(), keys_changed_at = now()"
)


class MigrationError(ControlPlaneError):
    """The database cannot be migrated to this release's schema."""


def script_folder() -> Path:
    """The folder of the migrations: in a wheel inside the package, in a checkout at the top."""
    shipped = Path(__file__).parents[1] / "migrations"
    checkout = Path(__file__).parents[3] / "migrations"
    for folder in (shipped, checkout):
        if (folder / "env.py").exists():
            return folder
    raise MigrationError(f"no migrations in {shipped} or {checkout}")


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's settings without an ini file."""
    config = Config()
    config.set_main_option("script_location", str(script_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


async def migrate(url: str, *, restored: bool = False) -> str:
    """Migrate the database at `url` to the newest schema; returns the schema's revision id.

    `restored`: the database is a backup, so edges may have later plans and keys than it holds. Its
    numbers begin a new lineage, created now, which edges accept. Raises MigrationError.
    """
    engine = create_engine(
        url, application="firsthop-migrate", statement_timeout_s=STATEMENT_TIMEOUT_S
    )
    try:
        async with engine.connect() as guard, engine.connect() as connection:
            await guard.execution_options(isolation_level="AUTOCOMMIT")
            await _take_turn(guard)
            await connection.run_sync(_upgrade)
            if restored:
                await connection.execute(_NEW_LINEAGE, {"lineage": uuid.uuid4().hex})
                await connection.commit()
            await guard.invalidate()  # ends its session, which releases the lock
    finally:
        await engine.dispose()
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    return head or ""


async def _take_turn(connection: AsyncConnection) -> None:
    deadline = asyncio.get_running_loop().time() + TURN_TIMEOUT_S
    query = text("SELECT pg_try_advisory_lock(:lock)")
    while not (await connection.execute(query, {"lock": MIGRATION_LOCK})).scalar_one():
        if asyncio.get_running_loop().time() > deadline:
            raise MigrationError(f"another process has been migrating for {TURN_TIMEOUT_S} s")
        await asyncio.sleep(0.1)


def _upgrade(connection: Connection) -> None:
    config = alembic_config(connection)
    present = MigrationContext.configure(connection).get_current_revision()
    connection.rollback()  # Alembic commits only what it has begun itself
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    if present is not None and present not in known:
        raise MigrationError(
            f"the schema {present} is not known to this release (newest: {max(known)}): use the "
            "release that wrote it, or restore a backup of before"
        )
    command.upgrade(config, "head")
