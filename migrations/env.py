"""Runs Alembic over the connection that `migrate` opened."""

from alembic import context
from sqlalchemy import Connection

from firsthop_controlplane.store import ledger, tables


def run(connection: Connection) -> None:
    """Runs each migration in its own transaction, so that a failed one has no effect."""
    context.configure(
        connection=connection,
        target_metadata=tables.Base.metadata,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


assert ledger  # its tables are part of the metadata
connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("migrations run by `firsthop migrate`, which takes the lock; see README.md")
run(connection)
