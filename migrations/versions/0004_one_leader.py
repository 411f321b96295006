"""The lease of the leading control plane; replaces status numbers reserved by each control plane.

Revision 0004: after 0003. The first term's numbers are greater than all reserved ones.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "leader",
        sa.Column("one", sa.Boolean(), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("renewed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("one", name=op.f("ck_leader_one_row")),
        sa.PrimaryKeyConstraint("one", name=op.f("pk_leader")),
    )
    op.execute(
        "INSERT INTO leader (one, term, holder, url, pid, renewed_at) "
        "SELECT true, status_number / 1000000000, '', '', 0, 'epoch' FROM store"
    )
    op.drop_column("store", "status_number")
