"""An ingester as a service: its database made ready, its pages served, its upkeep done."""

import gc
import sys
import threading
import time
from collections.abc import Callable

import structlog
from sqlalchemy import Engine, make_url

from monitor.backoff import Backoff
from monitor.errors import StoreError
from monitor.fleet.admin.operation import maintain
from monitor.fleet.config import FleetConfig
from monitor.fleet.ingest.ingester import Ingester
from monitor.fleet.ingest.metrics import IngestMetrics, Pages
from monitor.fleet.ingest.subscriber import Intake
from monitor.store import sums
from monitor.store.database import UnwritableError, explained, open_engine, shown, upgrade

log = structlog.get_logger(__name__)

# A busy SQLite holds the one writer; a fleet's ingester can wait longer than a frame loop.
BUSY_S = 10.0
# What waits to be added to the sums is read by every page: not to be more than some thousand rows.
FOLD_EVERY_S = 10.0
# libpq's own settings, seconds but the last, which is milliseconds.
LIMITS = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}


def serve(
    config: FleetConfig,
    url: str,
    stop: threading.Event,
    passing: Callable[[str], None] = lambda _: None,
) -> None:
    """Take in until `stop` is set.

    Args:
        config: of the fleet.
        url: of the database.
        stop: set by whoever wants it to end; what was taken is finished first.
        passing: called at named points of a batch; tests crash there.

    Raises:
        ConfigError, StoreError: a setting or a database that needs a person.
    """
    url = _limited(url)
    _prepare(config, url, stop)
    if stop.is_set():
        return
    engine = open_engine(url, busy_s=BUSY_S, immediate=True)
    metrics = IngestMetrics()
    intake = Intake(config.mqtt, config.ingest)
    ingester = Ingester(config, engine, intake, metrics, passing)
    pages = Pages(config.metrics, metrics.registry, ingester.health)
    upkeep = threading.Thread(target=_upkeep, args=(config, url, stop), name="upkeep", daemon=True)
    upkeep.start()
    try:
        ingester.run(stop)
    finally:
        pages.close()
        upkeep.join(timeout=5.0)
        engine.dispose()


def tune_python() -> None:
    """Set the interpreter up for a process that does nothing else than take in.

    It looks for cycles seldom: we make none, and its looking is a fifth of the work.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    # Threads that take turns less often do more: what waits here is batches, not people.
    sys.setswitchinterval(0.02)


def _limited(url: str) -> str:
    """A server that is gone without a word is noticed in half a minute, not in two hours."""
    target = make_url(url)
    if target.get_backend_name() != "postgresql":
        return url
    limited = target.update_query_dict({**LIMITS, **target.query})
    return limited.render_as_string(hide_password=False)


def _prepare(config: FleetConfig, url: str, stop: threading.Event) -> None:
    """Bring the database to this version and its partitions ahead, waiting while it is away."""
    backoff = Backoff(*config.database.retry_s)
    while not stop.is_set():
        try:
            upgrade(url)
            engine = open_engine(url, busy_s=BUSY_S, immediate=True)
            with explained(url):
                maintain(engine, config.retention, time.time())
            engine.dispose()
        except UnwritableError as error:
            log.warning("waiting for the database", reason=str(error))
            stop.wait(backoff.next_s())
        else:
            log.info("database ready", url=shown(url))
            return


def _upkeep(config: FleetConfig, url: str, stop: threading.Event) -> None:
    """Sums, partitions ahead and retention; a failure is told and tried again."""
    engine: Engine = open_engine(url, busy_s=BUSY_S, immediate=True)
    maintained_s = time.monotonic()
    while not stop.wait(min(FOLD_EVERY_S, config.retention.every_s)):
        try:
            with explained(url):
                with engine.begin() as connection:
                    sums.fold(connection)
                if time.monotonic() - maintained_s >= config.retention.every_s:
                    maintained_s = time.monotonic()
                    log.info("upkeep done", gone=maintain(engine, config.retention, time.time()))
        except StoreError as error:
            log.warning("upkeep put off", reason=str(error))
    engine.dispose()
