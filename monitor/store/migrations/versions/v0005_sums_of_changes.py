"""Sums that follow every change at once, an event's latest review and cell in its own row."""

import sqlalchemy as sa
from alembic import op

from monitor.store import schema, sums, triggers
from monitor.store.migrations.versions import v0002_sums

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Of version 0002, made of whole past days by the dashboard.
REPLACED = ("rolled_days", "event_days", "event_hours", "coverage_days", "coverage_hours")
INDEXES = (
    "ix_events_driver_started",
    "ix_events_vehicle_started",
    "ix_events_waiting",
    "ix_events_waiting_drive",
    "ix_events_judged",
    "ix_events_place",
    "ix_availability_last",
)
ADDED: dict[str, dict[str, sa.Integer | sa.String | sa.Double[float]]] = {
    "events": {
        "cell_row": sa.Integer(),
        "cell_column": sa.Integer(),
        "verdict": sa.String(16),
        "verdict_cause": sa.String(32),
    },
    "availability": {"until_at": sa.Double()},
}


def upgrade() -> None:
    """Replace the sums and fill what is derived."""
    connection = op.get_bind()
    for replaced in REPLACED:
        op.drop_table(replaced)
    for changed, columns in ADDED.items():
        for name, type_ in columns.items():
            op.add_column(changed, sa.Column(name, type_))
    for remade in ("ix_events_driver_started", "ix_events_vehicle_started"):
        op.drop_index(remade, "events")
    for index in (*schema.events.indexes, *schema.availability.indexes):
        if index.name in INDEXES:
            index.create(connection)
    for table in (*sums.JOURNALS, *sums.SUMMED):
        table.create(connection)
    sums.rebuild(connection)
    triggers.install(connection)


def downgrade() -> None:
    """Take it away; the sums of version 0002 come back empty, to be made again."""
    connection = op.get_bind()
    triggers.uninstall(connection)
    for table in (*sums.JOURNALS, *sums.SUMMED):
        table.drop(connection)
    for index in INDEXES:
        op.drop_index(index)
    for changed, columns in ADDED.items():
        for name in columns:
            op.drop_column(changed, name)
    op.create_index("ix_events_driver_started", "events", ["driver", "started_at"])
    op.create_index("ix_events_vehicle_started", "events", ["vehicle", "started_at"])
    v0002_sums.create_tables()
