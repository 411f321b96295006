"""The history of published prices and latency, so that past answers can be explained.

Revision 0010: after 0009. The last published prices and latency become the first rows of their
kinds. Their old table is dropped at once, as no release had it.
"""

import json
import zlib

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    table = op.create_table(
        "guidance_past",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("whole", sa.Boolean(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("kind IN ('prices', 'latency')", name=op.f("ck_guidance_past_kind")),
        sa.CheckConstraint("whole OR content IS NOT NULL", name=op.f("ck_guidance_past_content")),
        sa.PrimaryKeyConstraint("kind", "number", name=op.f("pk_guidance_past")),
    )
    op.create_index("ix_guidance_past_kind_at", "guidance_past", ["kind", "at"])
    query = sa.text("SELECT kind, written_at, content FROM steering_snapshot")
    for kind, at, content in op.get_bind().execute(query).all():
        try:
            number = int(json.loads(zlib.decompress(content))["number"])
        except (ValueError, KeyError, TypeError, zlib.error):
            continue  # damaged: a leader would not have read it either
        row = {"kind": kind, "number": number, "at": at, "whole": True, "content": content}
        op.bulk_insert(table, [row])
    op.drop_table("steering_snapshot")
