"""Verdicts by address family, so that a new leader continues with them.

Revision 0005: after 0004. Rows that the previous release writes have no such verdicts.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("verdict", sa.Column("families", JSONB(), nullable=False, server_default="{}"))
