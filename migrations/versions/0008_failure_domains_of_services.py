"""The number of failure domains that a service requires (`min_candidates`).

Revision 0008: after 0007. Rows that the previous release writes require one domain.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column(
        "service", sa.Column("min_candidates", sa.Integer(), nullable=False, server_default="1")
    )
    op.create_check_constraint(
        op.f("ck_service_min_candidates"), "service", "min_candidates BETWEEN 1 AND 8"
    )
