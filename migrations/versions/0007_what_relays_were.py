"""The history of relays' statuses, so that past answers can be explained.

Revision 0007: after 0006. A row is written for every change that affects answers.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "relay_past",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("relay", sa.Text(collation="C"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("status", JSONB(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_relay_past")),
    )
    op.create_index("ix_relay_past_relay_at", "relay_past", ["relay", "at"])
