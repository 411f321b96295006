"""Which token a report was sent with, the revoked secrets, and the use of tokens.

Revision 0011: after 0010. Reports that the previous release writes name no token; they stay valid
for as long as they are fresh. The previous release does not read the new tables.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    for table in ("relay_status", "transceiver_status"):
        op.add_column(table, sa.Column("token", sa.Text(), nullable=True))
    op.create_table(
        "revoked_secret",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("octet_length(digest) = 32", name=op.f("ck_revoked_secret_digest")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_revoked_secret")),
    )
    op.create_table(
        "token_use",
        sa.Column("token", sa.Text(collation="C"), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["token"], ["token.id"], name=op.f("fk_token_use_token"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("token", "outcome", name=op.f("pk_token_use")),
    )
