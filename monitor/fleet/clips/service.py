"""The fetcher as a service: one process for one folder of clips."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sdnotify
import structlog

from monitor.backoff import Backoff
from monitor.config import state_dir
from monitor.errors import ConfigError, StoreError
from monitor.fleet.clips.fetcher import ClipFetcher
from monitor.fleet.config import FleetConfig
from monitor.store.database import explained, open_engine, upgrade

log = structlog.get_logger(__name__)

BUSY_S: Final = 10.0
STEP_S: Final = 0.5


def serve(config: FleetConfig, url: str, stop: threading.Event) -> None:
    """Fetch what is asked for until `stop` is set.

    Raises:
        ConfigError, StoreError: a setting, a folder or a database that needs a person.
    """
    folder = config.clips.folder or state_dir() / "clips"
    upgrade(url)
    with _alone(folder):
        engine = open_engine(url, busy_s=BUSY_S, immediate=True)
        fetcher = ClipFetcher(config.mqtt, config.clips, folder, engine)
        systemd = sdnotify.SystemdNotifier() if "NOTIFY_SOCKET" in os.environ else None
        backoff = Backoff(*config.database.retry_s)
        fetcher.start()
        try:
            while not stop.is_set():
                try:
                    with explained(url):
                        fetcher.step(STEP_S)
                except (StoreError, OSError) as error:
                    log.warning("a clip could not be written down; keeping on", reason=str(error))
                    stop.wait(backoff.next_s())
                else:
                    backoff.reset()
                if systemd is not None:
                    systemd.notify("READY=1\nWATCHDOG=1")
        finally:
            fetcher.close()
            engine.dispose()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two fetchers would write into each other's partial files.

    Raises:
        ConfigError: another one works there, or the folder cannot be written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / ".fetcher.lock").open("a", encoding="ascii")
    except OSError as error:
        raise ConfigError(f"clips.folder {folder}: cannot be written ({error.strerror})") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"clips.folder {folder}: another `wakeful fleet clips` works there"
            ) from None
        yield
