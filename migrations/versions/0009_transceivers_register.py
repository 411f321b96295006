"""Transceivers that register themselves: allowed networks, registrations, and reports.

Revision 0009: after 0008. Rows that the previous release writes count as operators' own.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, CIDR, JSONB

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column(
        "transceiver_region",
        sa.Column("networks", ARRAY(CIDR()), nullable=False, server_default="{}"),
    )
    op.add_column("transceiver", sa.Column("capacity", sa.BigInteger(), nullable=True))
    op.create_check_constraint(op.f("ck_transceiver_capacity"), "transceiver", "capacity >= 1")
    op.add_column(
        "transceiver",
        sa.Column("registered", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_table(
        "transceiver_status",
        sa.Column("transceiver", sa.Text(collation="C"), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("report", JSONB(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "verdict IN ('up', 'down', 'unknown')", name=op.f("ck_transceiver_status_verdict")
        ),
        sa.PrimaryKeyConstraint("transceiver", name=op.f("pk_transceiver_status")),
    )
