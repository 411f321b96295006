"""The store: configuration and its history, tokens, keys, and the last measured state.

Revision 0001: the first revision.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("address", postgresql.INET(), nullable=True),
        sa.Column("request", sa.Text(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(collation="C"), nullable=False),
        sa.Column(
            "before", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column(
            "after", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("revision", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_object", "audit", ["object", "id"])
    op.create_index("ix_audit_revision", "audit", ["revision"])
    op.create_table(
        "key",
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.SmallInteger(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("signing", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.CheckConstraint("(sealed IS NULL) = (retired_at IS NOT NULL)", name="ck_key_sealed"),
        sa.CheckConstraint("NOT (signing AND retired_at IS NOT NULL)", name="ck_key_signing"),
        sa.CheckConstraint("id BETWEEN 0 AND 63", name="ck_key_id"),
        sa.PrimaryKeyConstraint("generation", name="pk_key"),
    )
    op.create_index(
        "uq_key_id", "key", ["id"], unique=True, postgresql_where=sa.text("retired_at IS NULL")
    )
    op.create_index(
        "uq_key_signing", "key", ["signing"], unique=True, postgresql_where=sa.text("signing")
    )
    op.create_table(
        "region",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("latitude", sa.Double(), nullable=False),
        sa.Column("longitude", sa.Double(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("bias_ms", sa.Double(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("state IN ('active', 'draining', 'disabled')", name="ck_region_state"),
        sa.CheckConstraint("bias_ms BETWEEN -500 AND 500", name="ck_region_bias_ms"),
        sa.CheckConstraint("latitude BETWEEN -90 AND 90", name="ck_region_latitude"),
        sa.CheckConstraint("longitude BETWEEN -180 AND 180", name="ck_region_longitude"),
        sa.CheckConstraint("weight BETWEEN 0 AND 100", name="ck_region_weight"),
        sa.PrimaryKeyConstraint("id", name="pk_region"),
    )
    op.create_table(
        "relay_status",
        sa.Column("relay", sa.Text(collation="C"), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("report", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("relay", name="pk_relay_status"),
    )
    op.create_table(
        "revision",
        sa.Column("number", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("parent", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("document", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_revision"),
    )
    op.create_table(
        "service",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("ttl", sa.Integer(), nullable=False),
        sa.Column("ttl_min", sa.Integer(), nullable=False),
        sa.Column("ttl_max", sa.Integer(), nullable=False),
        sa.Column("answers", sa.Integer(), nullable=False),
        sa.Column("regions", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("transceiver_regions", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("when_all_down", sa.Text(), nullable=False),
        sa.Column("fallback", sa.ARRAY(postgresql.INET()), nullable=False),
        sa.Column("ecs", sa.Boolean(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("pool IN ('relays', 'transceivers')", name="ck_service_pool"),
        sa.CheckConstraint(
            "when_all_down IN ('open', 'closed', 'fallback')", name="ck_service_when_all_down"
        ),
        sa.CheckConstraint("answers BETWEEN 1 AND 8", name="ck_service_answers"),
        sa.CheckConstraint("ttl BETWEEN ttl_min AND ttl_max", name="ck_service_ttl"),
        sa.PrimaryKeyConstraint("id", name="pk_service"),
        sa.UniqueConstraint("name", deferrable=True, initially="DEFERRED", name="uq_service_name"),
    )
    op.create_table(
        "store",
        sa.Column("one", sa.Boolean(), nullable=False),
        sa.Column("lineage", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status_number", sa.BigInteger(), nullable=False),
        sa.Column("keys_number", sa.BigInteger(), nullable=False),
        sa.Column("keys_changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("one", name="ck_store_one_row"),
        sa.PrimaryKeyConstraint("one", name="pk_store"),
    )
    op.create_table(
        "token",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.CheckConstraint("octet_length(digest) = 32", name="ck_token_digest"),
        sa.PrimaryKeyConstraint("id", name="pk_token"),
        sa.UniqueConstraint("digest", name="uq_token_digest"),
        sa.UniqueConstraint("name", name="uq_token_name"),
    )
    op.create_table(
        "transceiver_region",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("wire_id", sa.Integer(), nullable=False),
        sa.Column("latitude", sa.Double(), nullable=False),
        sa.Column("longitude", sa.Double(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("bias_ms", sa.Double(), nullable=False),
        sa.Column("capacity", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('active', 'draining', 'disabled')", name="ck_transceiver_region_state"
        ),
        sa.CheckConstraint("bias_ms BETWEEN -500 AND 500", name="ck_transceiver_region_bias_ms"),
        sa.CheckConstraint("capacity >= 1", name="ck_transceiver_region_capacity"),
        sa.CheckConstraint("latitude BETWEEN -90 AND 90", name="ck_transceiver_region_latitude"),
        sa.CheckConstraint(
            "longitude BETWEEN -180 AND 180", name="ck_transceiver_region_longitude"
        ),
        sa.CheckConstraint("weight BETWEEN 0 AND 100", name="ck_transceiver_region_weight"),
        sa.CheckConstraint("wire_id BETWEEN 1 AND 65535", name="ck_transceiver_region_wire_id"),
        sa.PrimaryKeyConstraint("id", name="pk_transceiver_region"),
        sa.UniqueConstraint(
            "wire_id", deferrable=True, initially="DEFERRED", name="uq_transceiver_region_wire_id"
        ),
    )
    op.create_table(
        "verdict",
        sa.Column("relay", sa.Text(collation="C"), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.CheckConstraint("verdict IN ('up', 'down', 'unknown')", name="ck_verdict_verdict"),
        sa.PrimaryKeyConstraint("relay", name="pk_verdict"),
    )
    op.create_table(
        "wire_id",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(collation="C"), nullable=False),
        sa.CheckConstraint(
            "kind IN ('transceiver_regions', 'transceivers')", name="ck_wire_id_kind"
        ),
        sa.CheckConstraint("number BETWEEN 1 AND 65535", name="ck_wire_id_number"),
        sa.PrimaryKeyConstraint("kind", "number", name="pk_wire_id"),
    )
    op.create_table(
        "zone",
        sa.Column("apex", sa.Text(collation="C"), nullable=False),
        sa.Column("primary", sa.Text(), nullable=False),
        sa.Column("contact", sa.Text(), nullable=False),
        sa.Column("refresh", sa.Integer(), nullable=False),
        sa.Column("retry", sa.Integer(), nullable=False),
        sa.Column("expire", sa.Integer(), nullable=False),
        sa.Column("minimum", sa.Integer(), nullable=False),
        sa.Column("ttl", sa.Integer(), nullable=False),
        sa.Column("name_servers", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("apex", name="pk_zone"),
    )
    op.create_table(
        "override",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("cidr", postgresql.CIDR(), nullable=True),
        sa.Column("asn", sa.BigInteger(), nullable=True),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("continent", sa.Text(), nullable=True),
        sa.Column("regions", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(collation="C"), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("mode IN ('prefer', 'only', 'avoid')", name="ck_override_mode"),
        sa.CheckConstraint("cardinality(regions) >= 1", name="ck_override_regions"),
        sa.CheckConstraint(
            "num_nonnulls(cidr, asn, country, continent) = 1", name="ck_override_one_match"
        ),
        sa.ForeignKeyConstraint(
            ["service"],
            ["service.id"],
            name="fk_override_service",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("id", name="pk_override"),
    )
    op.create_index("ix_override_service", "override", ["service"])
    op.create_table(
        "record",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("zone", sa.Text(collation="C"), nullable=False),
        sa.Column("owner", sa.Text(collation="C"), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("ttl", sa.Integer(), nullable=False),
        sa.Column("rdata", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "type IN ('A', 'AAAA', 'CNAME', 'TXT', 'MX', 'CAA')", name="ck_record_type"
        ),
        sa.ForeignKeyConstraint(
            ["zone"], ["zone.apex"], name="fk_record_zone", initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("id", name="pk_record"),
    )
    op.create_index("ix_record_owner", "record", ["zone", "owner"])
    op.create_table(
        "relay",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("region", sa.Text(collation="C"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ipv4", postgresql.INET(), nullable=True),
        sa.Column("ipv6", postgresql.INET(), nullable=True),
        sa.Column("udp_port", sa.Integer(), nullable=False),
        sa.Column("tcp_port", sa.Integer(), nullable=True),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("capacity", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("failure_domain", sa.Text(), nullable=True),
        sa.Column("probe", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('relay', 'turn')", name="ck_relay_kind"),
        sa.CheckConstraint("state IN ('active', 'draining', 'disabled')", name="ck_relay_state"),
        sa.CheckConstraint("capacity >= 1", name="ck_relay_capacity"),
        sa.CheckConstraint("family(ipv4) = 4", name="ck_relay_ipv4"),
        sa.CheckConstraint("family(ipv6) = 6", name="ck_relay_ipv6"),
        sa.CheckConstraint("ipv4 IS NOT NULL OR ipv6 IS NOT NULL", name="ck_relay_reachable"),
        sa.CheckConstraint("tcp_port BETWEEN 1 AND 65535", name="ck_relay_tcp_port"),
        sa.CheckConstraint("udp_port BETWEEN 1 AND 65535", name="ck_relay_udp_port"),
        sa.CheckConstraint("weight BETWEEN 0 AND 100", name="ck_relay_weight"),
        sa.ForeignKeyConstraint(
            ["region"], ["region.id"], name="fk_relay_region", initially="DEFERRED", deferrable=True
        ),
        sa.PrimaryKeyConstraint("id", name="pk_relay"),
        sa.UniqueConstraint(
            "ipv4", "tcp_port", deferrable=True, initially="DEFERRED", name="uq_relay_ipv4_tcp_port"
        ),
        sa.UniqueConstraint(
            "ipv4", "udp_port", deferrable=True, initially="DEFERRED", name="uq_relay_ipv4_udp_port"
        ),
        sa.UniqueConstraint(
            "ipv6", "tcp_port", deferrable=True, initially="DEFERRED", name="uq_relay_ipv6_tcp_port"
        ),
        sa.UniqueConstraint(
            "ipv6", "udp_port", deferrable=True, initially="DEFERRED", name="uq_relay_ipv6_udp_port"
        ),
    )
    op.create_index("ix_relay_region", "relay", ["region"])
    op.create_table(
        "transceiver",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("wire_id", sa.Integer(), nullable=False),
        sa.Column("region", sa.Text(collation="C"), nullable=False),
        sa.Column("host", postgresql.INET(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("signalling_ipv4", postgresql.INET(), nullable=True),
        sa.Column("signalling_ipv6", postgresql.INET(), nullable=True),
        sa.Column("signalling_port", sa.Integer(), nullable=True),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "state IN ('active', 'draining', 'disabled')", name="ck_transceiver_state"
        ),
        sa.CheckConstraint("family(signalling_ipv4) = 4", name="ck_transceiver_signalling_ipv4"),
        sa.CheckConstraint("family(signalling_ipv6) = 6", name="ck_transceiver_signalling_ipv6"),
        sa.CheckConstraint("port BETWEEN 1 AND 65535", name="ck_transceiver_port"),
        sa.CheckConstraint(
            "signalling_port BETWEEN 1 AND 65535", name="ck_transceiver_signalling_port"
        ),
        sa.CheckConstraint("weight BETWEEN 0 AND 100", name="ck_transceiver_weight"),
        sa.CheckConstraint("wire_id BETWEEN 1 AND 65535", name="ck_transceiver_wire_id"),
        sa.ForeignKeyConstraint(
            ["region"],
            ["transceiver_region.id"],
            name="fk_transceiver_region",
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("id", name="pk_transceiver"),
        sa.UniqueConstraint(
            "host", "port", deferrable=True, initially="DEFERRED", name="uq_transceiver_host_port"
        ),
        sa.UniqueConstraint(
            "wire_id", deferrable=True, initially="DEFERRED", name="uq_transceiver_wire_id"
        ),
    )
    op.create_index("ix_transceiver_region", "transceiver", ["region"])
    # Numbers of different stores are not comparable: the lineage identifies the store.
    op.execute(
        "INSERT INTO store (one, lineage, created_at, status_number, keys_number, keys_changed_at)"
        " VALUES (true, gen_random_uuid()::text, now(), 0, 0, now())"
    )
