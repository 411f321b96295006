"""A service without `ttl_min` has one that follows its TTL.

Revision 0002. Rows written before keep the number they have.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.alter_column("service", "ttl_min", existing_type=sa.Integer(), nullable=True)
