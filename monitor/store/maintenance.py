"""What is forgotten, and when: samples soon, alerts late, single kinds as set, never too much."""

import time

import structlog
from sqlalchemy import Engine, Table

from monitor.clock import Calendar
from monitor.config import StoreConfig
from monitor.store import event_log, schema, sums
from monitor.store.outbox import Outbox

log = structlog.get_logger(__name__)

DAY_S = 86_400.0
EVERY_S = 60.0
# One pass deletes at most this many batches of a table, so that nobody waits long for it.
BATCHES = 20


class Retention:
    """Keeps the log within its limits.

    Args:
        config: days for each table and kind, and bytes for all.
        outbox: pruned by age and size too; None where there is none.
        calendar: the date. While it is not to be believed nothing is forgotten by age.
    """

    def __init__(
        self, config: StoreConfig, outbox: Outbox | None, calendar: Calendar | None = None
    ) -> None:
        self._config = config
        self._outbox = outbox
        self._next_s = time.monotonic()
        self.calendar = calendar or Calendar()
        self._doubted = False

    def due_s(self) -> float:
        """Seconds until the next pass; 0 when it is time, or the outbox is too large."""
        if self._outbox is not None and self._outbox.too_large:
            return 0.0
        return max(0.0, self._next_s - time.monotonic())

    def apply(self, engine: Engine) -> None:
        """One pass, in small transactions."""
        now_at = self.calendar.now_at()
        self._prune_outbox(engine, now_at)
        if self._next_s > time.monotonic():
            return
        self._next_s = time.monotonic() + EVERY_S
        if now_at is not None:
            self._forget_old(engine, now_at)
        elif not self._doubted:
            self._doubted = True
            log.warning(
                "the clock is not set, or leapt by over a year; nothing is forgotten by age",
                clock=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.calendar.wall())),
            )
        if engine.dialect.name == "sqlite":
            self._shrink(engine)
        with engine.begin() as connection:
            sums.fold(connection)

    def _prune_outbox(self, engine: Engine, now_at: float | None) -> None:
        for _ in range(BATCHES):
            if self._outbox is None or not self._outbox.prune(engine, now_at):
                return

    def _forget_old(self, engine: Engine, now_at: float) -> None:
        config = self._config
        long_ago = now_at - config.events_keep_days * DAY_S
        for kind, days in config.keep_days.items():
            before = now_at - min(days, config.events_keep_days) * DAY_S
            _in_batches(engine, schema.events, "started_at", before, kind=kind.value)
        _in_batches(engine, schema.samples, "at", now_at - config.samples_keep_days * DAY_S)
        _in_batches(engine, schema.events, "started_at", long_ago)
        _in_batches(engine, schema.coverage, "started_at", long_ago)
        for table in (schema.availability, schema.camera_status, schema.audit):
            _in_batches(engine, table, "at", long_ago)

    def _shrink(self, engine: Engine) -> None:
        # Alerts go only when no sample is left to go.
        tables = [(schema.samples, "at"), (schema.events, "started_at")]
        for _ in range(BATCHES):
            with engine.begin() as connection:
                if event_log.used_bytes(connection) <= self._config.max_bytes:
                    return
                any(
                    event_log.forget_oldest(connection, table, column, event_log.BATCH_ROWS)
                    for table, column in tables
                )


def _in_batches(engine: Engine, table: Table, column: str, before: float, **only: str) -> None:
    for _ in range(BATCHES):
        with engine.begin() as connection:
            gone = event_log.forget_before(connection, table, column, before, **only)
        if gone < event_log.BATCH_ROWS:
            return
