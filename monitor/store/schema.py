"""The tables, the same in a vehicle's SQLite and in a fleet's PostgreSQL.

Times are UTC epoch seconds (double precision): they sort, subtract and bin alike in both.
In PostgreSQL `events`, `samples` and `coverage` are partitioned by month of their time column,
which is why that column is part of each primary key.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

Json = JSON().with_variant(JSONB(), "postgresql")
# SQLite numbers rows by itself only in a column declared exactly INTEGER.
Serial = BigInteger().with_variant(Integer(), "sqlite")

# What an index holds when it does not hold every event. A query that says the same in the same
# words may use it.
HAS_DRIVER: Final = "driver IS NOT NULL"
JUDGED: Final = "verdict IS NOT NULL"
# Alerts from caution on; what only says that the camera was impaired is none.
WAITING: Final = "verdict IS NULL AND level >= 2 AND kind <> 'degraded'"
PLACED: Final = "cell_row IS NOT NULL AND level >= 2 AND kind <> 'degraded'"
LAST_STATUS: Final = "until_at IS NULL"
# What is counted, so that PostgreSQL need not visit the row.
_COUNTED_BY: Final = ["kind", "level"]
_ITEM: Final = ["vehicle", "drive", "camera", "kind"]
_JUDGED_OF: Final = ["vehicle", "verdict_cause"]
_PLACE: Final = ["vehicle", "level", "latitude", "longitude"]


def _partial(name: str, *columns: str, where: str, include: Sequence[str] = ()) -> Index:
    condition = text(where)
    return Index(
        name,
        *columns,
        postgresql_where=condition,
        sqlite_where=condition,
        postgresql_include=include,
    )


vehicles = Table(
    "vehicles",
    metadata,
    Column("vehicle", String(64), primary_key=True),
    Column("availability", String(16), nullable=False, default="unknown"),
    Column("availability_at", Double),
    Column("first_seen_at", Double, nullable=False),
    Column("last_seen_at", Double, nullable=False),
    Column("state", Json),  # the latest state message, as published
    Column("state_at", Double),
    Column("stats", Json),  # the latest stats message
    Column("version", String(32)),
    # The vehicle's clock less the ingester's, from live messages; None in the vehicle itself.
    Column("clock_skew_s", Double),
)

events = Table(
    "events",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("started_at", Double, primary_key=True),
    Column("vehicle", String(64), nullable=False),
    Column("drive", String(64), nullable=False),
    Column("camera", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("phase", String(8), nullable=False),  # latest told
    Column("level", Integer, nullable=False),  # highest reached
    Column("updated_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("duration_s", Double, nullable=False),
    Column("acknowledged", Boolean, nullable=False, default=False),
    Column("evidence", Json, nullable=False),
    Column("policy", String(64), nullable=False),
    Column("calibration", String(64), nullable=False),
    Column("models", Json, nullable=False),
    Column("sequence", BigInteger),  # the vehicle's own count; orders what the network did not
    Column("received_at", Double),  # set by the ingester; None in the vehicle
    Column("clip", Text),  # file name in the vehicle's clip folder
    Column("driver", String(64)),  # a pseudonym that the vehicle was given; never from the face
    Column("latitude", Double),  # degrees north at its start, rounded by the vehicle
    Column("longitude", Double),  # degrees east
    # The fleet's clock when a message last changed the row; None in the vehicle. What reads the
    # log as it grows (`wakeful fleet notify`) reads by it.
    Column("changed_at", Double),
    # Which cell of the map that is (`monitor.protocol.mapping.cell_of`); None without a position.
    Column("cell_row", Integer),
    Column("cell_column", Integer),
    # The latest review's, kept by a trigger of `monitor.store.sums`; None waits for one.
    Column("verdict", String(16)),
    Column("verdict_cause", String(32)),
    Index("ix_events_changed", "changed_at"),
    _partial("ix_events_driver_started", "driver", "started_at", where=HAS_DRIVER),
    Index("ix_events_vehicle_started", "vehicle", "started_at", postgresql_include=_COUNTED_BY),
    Index("ix_events_started", "started_at"),
    Index("ix_events_kind_started", "kind", "started_at"),
    Index("ix_events_level_started", "level", "started_at"),
    Index("ix_events_duration", "duration_s"),  # the longest, without sorting a million
    # The queue: the most urgent first, and how many of a drive are like it.
    _partial("ix_events_waiting", "level", "started_at", where=WAITING, include=_ITEM),
    _partial("ix_events_waiting_drive", "drive", where=WAITING),
    _partial("ix_events_judged", "verdict", "started_at", where=JUDGED, include=_JUDGED_OF),
    _partial(
        "ix_events_place", "cell_row", "cell_column", "started_at", where=PLACED, include=_PLACE
    ),
)

samples = Table(
    "samples",
    metadata,
    Column("vehicle", String(64), primary_key=True),
    Column("camera", String(64), primary_key=True),
    Column("at", Double, primary_key=True),
    Column("drive", String(64), nullable=False),
    Column("level", Integer, nullable=False),
    Column("kind", String(32)),
    Column("eyes", String(8), nullable=False),
    Column("openness", Double),
    Column("closure_s", Double),
    Column("perclos", Double),
    Column("fatigue", Double),
    Column("yaw_deg", Double),
    Column("pitch_deg", Double),
    Column("roll_deg", Double),
    Column("emotion", String(32)),
    Column("fps", Double),
    Column("calibration", Double),  # progress 0..1
    Column("speed_kmh", Double),
    Column("degraded", Json, nullable=False),  # list of causes
    Column("driver", String(64)),
    Column("latitude", Double),
    Column("longitude", Double),
)

# How long the driver was watched, and why not: one row a report, drive and cause; cause
# "monitored" is the time in which nothing impaired the watch.
coverage = Table(
    "coverage",
    metadata,
    Column("vehicle", String(64), primary_key=True),
    Column("drive", String(64), primary_key=True),
    Column("camera", String(64), primary_key=True),
    Column("started_at", Double, primary_key=True),
    Column("cause", String(32), primary_key=True),
    Column("seconds", Double, nullable=False),
    Column("driver", String(64)),
    Index("ix_coverage_started", "started_at"),
)

availability = Table(
    "availability",
    metadata,
    Column("vehicle", String(64), primary_key=True),
    Column("at", Double, primary_key=True),
    Column("status", String(16), nullable=False),  # online | offline | stopped
    Column("until_at", Double),  # when the next began, kept by a trigger; None for the last
    _partial("ix_availability_last", "vehicle", where=LAST_STATUS, include=["at", "status"]),
)

camera_status = Table(
    "camera_status",
    metadata,
    Column("vehicle", String(64), primary_key=True),
    Column("camera", String(64), primary_key=True),
    Column("at", Double, primary_key=True),
    Column("status", String(16), nullable=False),  # online | offline | frozen | obscured | disabled
)

# What has still to be delivered. The autoincrement never hands a number out twice, so it is the
# vehicle's sequence even after rows are gone.
outbox = Table(
    "outbox",
    metadata,
    Column("sequence", Serial, primary_key=True, autoincrement=True),
    Column("message", String(64), nullable=False, unique=True),  # CloudEvents id
    Column("topic", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
    sqlite_autoincrement=True,
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("topic", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),  # the first 4 KB
    Column("reason", Text, nullable=False),
    Index("ix_dead_letters_at", "at"),
)

# Append-only: the latest row of an event is its verdict, the earlier ones are the audit.
reviews = Table(
    "reviews",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("event", String(36), nullable=False),
    Column("reviewer", String(128), nullable=False),
    Column("at", Double, nullable=False),
    Column("verdict", String(16), nullable=False),  # true | false | unsure
    Column("cause", String(32)),  # why a false one: glasses, light, talking, looking_down, …
    Column("note", Text),
    Index("ix_reviews_event_at", "event", "at"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("at", Double, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("action", String(64), nullable=False),  # export, erase, clips on, retention …
    Column("subject", Text, nullable=False),
    Column("detail", Json),
)

# Depots, regions, customers: a vehicle may be in several. A role, a rule or a recipient may be
# limited to some of them.
vehicle_groups = Table(
    "vehicle_groups",
    metadata,
    Column("vehicle", String(64), primary_key=True),
    Column("group_name", String(64), primary_key=True),
    Index("ix_vehicle_groups_group", "group_name"),
)

# Append-only: what was said about an event, and to whom it was given (an empty assignee gives it
# back). The latest row with an assignee says whose it is.
comments = Table(
    "comments",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("event", String(36), nullable=False),
    Column("at", Double, nullable=False),
    Column("author", String(128), nullable=False),
    Column("assignee", String(128)),
    Column("text", Text),
    Index("ix_comments_event_at", "event", "at"),
)

# Append-only: the latest row of an event is where its coaching stands, all rows are its history.
coaching = Table(
    "coaching",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("event", String(36), nullable=False),
    Column("at", Double, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("status", String(16), nullable=False),  # open | talked | closed
    Column("note", Text),
    Index("ix_coaching_event_at", "event", "at"),
)

# How far the notifier has looked for each of its rules.
notification_rules = Table(
    "notification_rules",
    metadata,
    Column("rule", String(64), primary_key=True),
    Column("since", Double, nullable=False),  # what changed earlier is not sent
    Column("looked_at", Double, nullable=False),
)

# One row for each rule, recipient and subject: what makes a notification happen exactly once.
notifications = Table(
    "notifications",
    metadata,
    Column("id", Serial, primary_key=True, autoincrement=True),
    Column("rule", String(64), nullable=False),
    Column("recipient", String(64), nullable=False),
    Column("subject", String(64), nullable=False),  # an event's id, or `weekly/2026-W48`
    Column("vehicle", String(64)),
    Column("kind", String(32)),
    Column("status", String(16), nullable=False),  # pending | sending | sent | held | failed
    Column("created_at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("sent_at", Double),
    Column("error", Text),
    UniqueConstraint("rule", "recipient", "subject", name="uq_notifications"),
    Index("ix_notifications_status_due", "status", "due_at"),
    Index("ix_notifications_subject", "subject"),
    Index("ix_notifications_repeats", "rule", "recipient", "vehicle", "kind", "created_at"),
)

# A clip that an operator asked a vehicle for, and how far it has come.
clip_requests = Table(
    "clip_requests",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("event", String(36), nullable=False),
    Column("vehicle", String(64), nullable=False),
    Column("requested_by", String(128), nullable=False),
    Column("requested_at", Double, nullable=False),
    # requested | sending | stored | refused | failed | expired
    Column("status", String(16), nullable=False),
    Column("reason", Text),
    Column("received_bytes", BigInteger, nullable=False, default=0),
    Column("total_bytes", BigInteger),
    Column("sha256", String(64)),
    Column("file", Text),  # name in the fleet's folder of clips
    Column("updated_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),  # asked no longer, or the file is deleted
    Index("ix_clip_requests_event", "event"),
    Index("ix_clip_requests_status", "status", "updated_at"),
)

# What follows is derived from `events`, `coverage` and `availability` by the triggers of
# `monitor.store.sums`, in the same transaction: a change is first a row of a journal, and is later
# added to the totals. A sum is the totals' and the journal's together.
event_changes = Table(
    "event_changes",
    metadata,
    Column("day", Double, nullable=False),  # its start, as the hour's
    Column("hour", Double, nullable=False),
    Column("vehicle", String(64), nullable=False),
    Column("camera", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("level", Integer, nullable=False),
    Column("verdict", String(16), nullable=False),  # empty without
    Column("cell_row", Integer),
    Column("cell_column", Integer),
    Column("events", Integer, nullable=False),  # 1 came, -1 went
)

coverage_changes = Table(
    "coverage_changes",
    metadata,
    Column("day", Double, nullable=False),
    Column("hour", Double, nullable=False),
    Column("vehicle", String(64), nullable=False),
    Column("cause", String(32), nullable=False),
    Column("milliseconds", BigInteger, nullable=False),
)

availability_changes = Table(
    "availability_changes",
    metadata,
    Column("day", Double, nullable=False),  # in which it began, as the hour
    Column("hour", Double, nullable=False),
    Column("vehicle", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("milliseconds", BigInteger, nullable=False),
)


def _summed(*names: str) -> tuple[Column[int], ...]:
    return tuple(Column(name, BigInteger, nullable=False, server_default="0") for name in names)


vehicle_days = Table(
    "vehicle_days",
    metadata,
    Column("day", Double, primary_key=True),
    Column("vehicle", String(64), primary_key=True),
    # Alerts by level; what only says that the camera was impaired is none.
    *_summed("info", "caution", "warning", "critical"),
    *_summed("verdict_true", "verdict_false", "verdict_unsure"),
    *_summed("monitored_ms", "driven_ms"),
    *_summed("online_ms", "offline_ms"),
)

event_days = Table(
    "event_days",
    metadata,
    Column("day", Double, primary_key=True),
    Column("camera", String(64), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("verdict", String(16), primary_key=True),  # empty without
    *_summed("events"),
)

event_hours = Table(
    "event_hours",
    metadata,
    Column("hour", Double, primary_key=True),
    Column("level", Integer, primary_key=True, autoincrement=False),
    *_summed("events"),  # without those about the camera
)

coverage_hours = Table(
    "coverage_hours",
    metadata,
    Column("hour", Double, primary_key=True),
    Column("cause", String(32), primary_key=True),
    *_summed("milliseconds"),
)

place_days = Table(
    "place_days",
    metadata,
    Column("day", Double, primary_key=True),
    Column("cell_row", Integer, primary_key=True, autoincrement=False),
    Column("cell_column", Integer, primary_key=True, autoincrement=False),
    Column("level", Integer, primary_key=True, autoincrement=False),
    *_summed("events"),  # without those about the camera
)
