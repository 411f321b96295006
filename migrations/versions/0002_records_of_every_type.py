"""Records of every type, and names of any octets.

Revision 0002: after 0001, which had six types, and names without escapes. `service.ttl_min` may now
be NULL, which means half of `ttl`; its check remains, since a comparison with NULL refuses nothing.
The old default of 1 had no effect before; it becomes NULL, so that TTLs do not fall to seconds.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

NAMES = (
    ("zone", "apex"),
    ("zone", "primary"),
    ("zone", "contact"),
    ("record", "zone"),
    ("record", "owner"),
    ("service", "name"),
)
MARKED = '([";()@$])'
"""Characters that old names contain unescaped and that canonical text escapes."""


def _escaped(text: sa.ColumnElement[str]) -> sa.Function[str]:
    return sa.func.regexp_replace(text, MARKED, r"\\\1", "g")


def upgrade() -> None:
    op.add_column("zone", sa.Column("name_servers_ttl", sa.Integer(), nullable=True))
    op.alter_column("service", "ttl_min", existing_type=sa.Integer(), nullable=True)
    service = sa.table("service", sa.column("ttl_min", sa.Integer()))
    op.execute(service.update().where(service.c.ttl_min == 1).values(ttl_min=None))
    op.drop_constraint("ck_record_type", "record", type_="check")
    for name, column in NAMES:
        table = sa.table(name, sa.column(column, sa.Text()))
        text = table.c[column]
        marked = text.regexp_match(MARKED)
        op.execute(table.update().where(marked).values({column: _escaped(text)}))
    zone = sa.table("zone", sa.column("name_servers", sa.ARRAY(sa.Text())))
    joined = sa.func.array_to_string(zone.c.name_servers, " ")
    servers = sa.func.string_to_array(_escaped(joined), " ")
    op.execute(zone.update().values(name_servers=servers))
    op.execute("SET CONSTRAINTS ALL IMMEDIATE")  # a table with checks due cannot be altered
    op.create_check_constraint("ck_record_type", "record", "type ~ '^[A-Z][A-Z0-9]*$'")
