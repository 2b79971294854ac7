"""Evidence of one shape a rule: what version 1 wrote in `events.evidence` is brought up to it."""

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from monitor.protocol.evidence_v1 import upgraded

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BATCH_ROWS = 2_000
EVENTS = sa.table(
    "events",
    sa.column("id", sa.String),
    sa.column("started_at", sa.Double),
    sa.column("kind", sa.String),
    sa.column("evidence", sa.JSON().with_variant(JSONB(), "postgresql")),
)


def upgrade() -> None:
    """Rewrite what is of the old shape, a batch at a time in the order of the primary key."""
    connection = op.get_bind()
    # A sum of whole days or an index knows nothing of evidence: no other table is concerned.
    after: tuple[str, float] = ("", float("-inf"))
    while rows := _batch(connection, after):
        changed = [
            {"key": row.id, "began": row.started_at, "new": new}
            for row in rows
            if (new := _upgraded(row.kind, row.evidence)) != row.evidence
        ]
        if changed:
            connection.execute(
                sa.update(EVENTS)
                .where(
                    EVENTS.c.id == sa.bindparam("key"),
                    EVENTS.c.started_at == sa.bindparam("began"),
                )
                .values(evidence=sa.bindparam("new", type_=EVENTS.c.evidence.type)),
                changed,
            )
        after = rows[-1].id, rows[-1].started_at


def downgrade() -> None:
    """Nothing: an older version reads any object."""


def _batch(connection: sa.Connection, after: tuple[str, float]) -> list[Any]:
    key = sa.tuple_(EVENTS.c.id, EVENTS.c.started_at)
    statement = sa.select(EVENTS).order_by(EVENTS.c.id, EVENTS.c.started_at).limit(BATCH_ROWS)
    if after[0]:
        statement = statement.where(key > sa.tuple_(*map(sa.literal, after)))
    return list(connection.execute(statement))


def _upgraded(kind: str, stored: object) -> Mapping[str, Any]:
    if isinstance(stored, str):
        stored = json.loads(stored)
    return upgraded(kind, stored if isinstance(stored, Mapping) else {})
