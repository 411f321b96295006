"""Verdicts forced by operators, and the view (global or local) of a service.

Revision 0003: after 0002. Rows that the previous release writes need neither column.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("relay", sa.Column("forced", JSONB(none_as_null=True), nullable=True))
    op.add_column("service", sa.Column("view", sa.Text(), nullable=False, server_default="global"))
    op.create_check_constraint("ck_service_view", "service", "view IN ('global', 'local')")
