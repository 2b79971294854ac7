"""The first tables; in PostgreSQL those that grow are partitioned by month.

The default partition takes what no month was made for, so that nothing is ever refused; the
fleet's ingester makes the months ahead.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Json = sa.JSON().with_variant(JSONB(), "postgresql")
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
PARTITIONED = {"events": "started_at", "samples": "at", "coverage": "started_at"}
TABLES = (
    "vehicles",
    "events",
    "samples",
    "coverage",
    "availability",
    "camera_status",
    "outbox",
    "dead_letters",
    "reviews",
    "audit",
)


def upgrade() -> None:
    """Create everything."""
    _vehicles()
    _events()
    _samples_and_coverage()
    _status()
    _delivery()
    _people()
    if op.get_context().dialect.name == "postgresql":
        for table in PARTITIONED:
            op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")


def downgrade() -> None:
    """Drop everything."""
    for table in reversed(TABLES):
        op.drop_table(table)


def _table(name: str, *columns: sa.Column[object] | sa.Index) -> None:
    partition_by = f"RANGE ({PARTITIONED[name]})" if name in PARTITIONED else None
    op.create_table(
        name,
        *columns,
        sqlite_autoincrement=name == "outbox",
        postgresql_partition_by=partition_by,
    )


def _vehicles() -> None:
    _table(
        "vehicles",
        sa.Column("vehicle", sa.String(64), primary_key=True),
        sa.Column("availability", sa.String(16), nullable=False),
        sa.Column("availability_at", sa.Double),
        sa.Column("first_seen_at", sa.Double, nullable=False),
        sa.Column("last_seen_at", sa.Double, nullable=False),
        sa.Column("state", Json),
        sa.Column("state_at", sa.Double),
        sa.Column("stats", Json),
        sa.Column("version", sa.String(32)),
        sa.Column("clock_skew_s", sa.Double),
    )


def _events() -> None:
    _table(
        "events",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("started_at", sa.Double, primary_key=True),
        sa.Column("vehicle", sa.String(64), nullable=False),
        sa.Column("drive", sa.String(64), nullable=False),
        sa.Column("camera", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("phase", sa.String(8), nullable=False),
        sa.Column("level", sa.Integer, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("duration_s", sa.Double, nullable=False),
        sa.Column("acknowledged", sa.Boolean, nullable=False),
        sa.Column("evidence", Json, nullable=False),
        sa.Column("policy", sa.String(64), nullable=False),
        sa.Column("calibration", sa.String(64), nullable=False),
        sa.Column("models", Json, nullable=False),
        sa.Column("sequence", sa.BigInteger),
        sa.Column("received_at", sa.Double),
        sa.Column("clip", sa.Text),
    )
    op.create_index("ix_events_vehicle_started", "events", ["vehicle", "started_at"])
    op.create_index("ix_events_started", "events", ["started_at"])
    op.create_index("ix_events_kind_started", "events", ["kind", "started_at"])
    op.create_index("ix_events_level_started", "events", ["level", "started_at"])


def _samples_and_coverage() -> None:
    _table(
        "samples",
        sa.Column("vehicle", sa.String(64), primary_key=True),
        sa.Column("camera", sa.String(64), primary_key=True),
        sa.Column("at", sa.Double, primary_key=True),
        sa.Column("drive", sa.String(64), nullable=False),
        sa.Column("level", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(32)),
        sa.Column("eyes", sa.String(8), nullable=False),
        sa.Column("openness", sa.Double),
        sa.Column("closure_s", sa.Double),
        sa.Column("perclos", sa.Double),
        sa.Column("fatigue", sa.Double),
        sa.Column("yaw_deg", sa.Double),
        sa.Column("pitch_deg", sa.Double),
        sa.Column("roll_deg", sa.Double),
        sa.Column("emotion", sa.String(32)),
        sa.Column("fps", sa.Double),
        sa.Column("calibration", sa.Double),
        sa.Column("speed_kmh", sa.Double),
        sa.Column("degraded", Json, nullable=False),
    )
    _table(
        "coverage",
        sa.Column("vehicle", sa.String(64), primary_key=True),
        sa.Column("drive", sa.String(64), primary_key=True),
        sa.Column("camera", sa.String(64), primary_key=True),
        sa.Column("started_at", sa.Double, primary_key=True),
        sa.Column("cause", sa.String(32), primary_key=True),
        sa.Column("seconds", sa.Double, nullable=False),
    )
    op.create_index("ix_coverage_started", "coverage", ["started_at"])


def _status() -> None:
    _table(
        "availability",
        sa.Column("vehicle", sa.String(64), primary_key=True),
        sa.Column("at", sa.Double, primary_key=True),
        sa.Column("status", sa.String(16), nullable=False),
    )
    _table(
        "camera_status",
        sa.Column("vehicle", sa.String(64), primary_key=True),
        sa.Column("camera", sa.String(64), primary_key=True),
        sa.Column("at", sa.Double, primary_key=True),
        sa.Column("status", sa.String(16), nullable=False),
    )


def _delivery() -> None:
    _table(
        "outbox",
        sa.Column("sequence", Serial, primary_key=True, autoincrement=True),
        sa.Column("message", sa.String(64), nullable=False, unique=True),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    _table(
        "dead_letters",
        sa.Column("id", Serial, primary_key=True, autoincrement=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("ix_dead_letters_at", "dead_letters", ["at"])


def _people() -> None:
    _table(
        "reviews",
        sa.Column("id", Serial, primary_key=True, autoincrement=True),
        sa.Column("event", sa.String(36), nullable=False),
        sa.Column("reviewer", sa.String(128), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("cause", sa.String(32)),
        sa.Column("note", sa.Text),
    )
    op.create_index("ix_reviews_event_at", "reviews", ["event", "at"])
    _table(
        "audit",
        sa.Column("id", Serial, primary_key=True, autoincrement=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("detail", Json),
    )
