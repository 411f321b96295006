"""Verdicts by address: who leads next goes on with them, and not with the relay's for both.

Revision 0005: after 0004. Rows that the release before writes have none.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("verdict", sa.Column("families", JSONB(), nullable=False, server_default="{}"))
