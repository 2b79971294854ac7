"""Sums of whole past days and hours for the dashboard, and an index for the longest alerts."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = ("rolled_days", "event_days", "event_hours", "coverage_days", "coverage_hours")


def upgrade() -> None:
    """Create them, and the index."""
    op.create_index("ix_events_duration", "events", ["duration_s"])
    create_tables()


def create_tables() -> None:
    """Create the sums, which version 0005 replaces."""
    op.create_table(
        "rolled_days",
        sa.Column("day", sa.Double, primary_key=True),
        sa.Column("rolled_at", sa.Double, nullable=False),
    )
    op.create_table(
        "event_days",
        sa.Column("day", sa.Double, primary_key=True),
        sa.Column("vehicle", sa.String(64), primary_key=True),
        *_counted(),
    )
    op.create_table("event_hours", sa.Column("hour", sa.Double, primary_key=True), *_counted())
    op.create_table(
        "coverage_days",
        sa.Column("day", sa.Double, primary_key=True),
        sa.Column("vehicle", sa.String(64), primary_key=True),
        sa.Column("monitored_s", sa.Double, nullable=False),
        sa.Column("driven_s", sa.Double, nullable=False),
    )
    op.create_table(
        "coverage_hours",
        sa.Column("hour", sa.Double, primary_key=True),
        sa.Column("cause", sa.String(32), primary_key=True),
        sa.Column("seconds", sa.Double, nullable=False),
    )


def downgrade() -> None:
    """Drop it: everything in it can be made again."""
    for table in TABLES:
        op.drop_table(table)
    op.drop_index("ix_events_duration", "events")


def _counted() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("kind", sa.String(32), primary_key=True),
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("events", sa.BigInteger, nullable=False),
    )
