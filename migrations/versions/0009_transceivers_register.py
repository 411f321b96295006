"""Transceivers that register themselves: where they may, which they are, what they hold.

Revision 0009: after 0008. Rows that the release before writes are operators'.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, CIDR

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
