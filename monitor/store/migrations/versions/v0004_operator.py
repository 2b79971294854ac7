"""Groups, drivers, places, follow-up, notifications and clips: what an operator's day needs."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TABLES = (
    "vehicle_groups",
    "comments",
    "coaching",
    "notification_rules",
    "notifications",
    "clip_requests",
)
PLACE = ("latitude", "longitude")


def upgrade() -> None:
    """Add the columns and create the tables."""
    for table in ("events", "samples", "coverage"):
        op.add_column(table, sa.Column("driver", sa.String(64)))
    for table in ("events", "samples"):
        for name in PLACE:
            op.add_column(table, sa.Column(name, sa.Double))
    op.add_column("events", sa.Column("changed_at", sa.Double))
    op.create_index("ix_events_changed", "events", ["changed_at"])
    op.create_index("ix_events_driver_started", "events", ["driver", "started_at"])
    _follow_up()
    _notifications()
    _clip_requests()


def downgrade() -> None:
    """Drop them; what they held is gone."""
    for table in TABLES:
        op.drop_table(table)
    op.drop_index("ix_events_driver_started", "events")
    op.drop_index("ix_events_changed", "events")
    op.drop_column("events", "changed_at")
    for table in ("events", "samples"):
        for name in PLACE:
            op.drop_column(table, name)
    for table in ("events", "samples", "coverage"):
        op.drop_column(table, "driver")


def _follow_up() -> None:
    op.create_table(
        "vehicle_groups",
        sa.Column("vehicle", sa.String(64), primary_key=True),
        sa.Column("group_name", sa.String(64), primary_key=True),
    )
    op.create_index("ix_vehicle_groups_group", "vehicle_groups", ["group_name"])
    op.create_table(
        "comments",
        sa.Column("id", Serial, primary_key=True, autoincrement=True),
        sa.Column("event", sa.String(36), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("author", sa.String(128), nullable=False),
        sa.Column("assignee", sa.String(128)),
        sa.Column("text", sa.Text),
    )
    op.create_index("ix_comments_event_at", "comments", ["event", "at"])
    op.create_table(
        "coaching",
        sa.Column("id", Serial, primary_key=True, autoincrement=True),
        sa.Column("event", sa.String(36), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("note", sa.Text),
    )
    op.create_index("ix_coaching_event_at", "coaching", ["event", "at"])


def _notifications() -> None:
    op.create_table(
        "notification_rules",
        sa.Column("rule", sa.String(64), primary_key=True),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("looked_at", sa.Double, nullable=False),
    )
    op.create_table(
        "notifications",
        sa.Column("id", Serial, primary_key=True, autoincrement=True),
        sa.Column("rule", sa.String(64), nullable=False),
        sa.Column("recipient", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("vehicle", sa.String(64)),
        sa.Column("kind", sa.String(32)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("sent_at", sa.Double),
        sa.Column("error", sa.Text),
        sa.UniqueConstraint("rule", "recipient", "subject", name="uq_notifications"),
    )
    op.create_index("ix_notifications_status_due", "notifications", ["status", "due_at"])
    op.create_index("ix_notifications_subject", "notifications", ["subject"])
    op.create_index(
        "ix_notifications_repeats",
        "notifications",
        ["rule", "recipient", "vehicle", "kind", "created_at"],
    )


def _clip_requests() -> None:
    op.create_table(
        "clip_requests",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("event", sa.String(36), nullable=False),
        sa.Column("vehicle", sa.String(64), nullable=False),
        sa.Column("requested_by", sa.String(128), nullable=False),
        sa.Column("requested_at", sa.Double, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("received_bytes", sa.BigInteger, nullable=False),
        sa.Column("total_bytes", sa.BigInteger),
        sa.Column("sha256", sa.String(64)),
        sa.Column("file", sa.Text),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
    )
    op.create_index("ix_clip_requests_event", "clip_requests", ["event"])
    op.create_index("ix_clip_requests_status", "clip_requests", ["status", "updated_at"])
