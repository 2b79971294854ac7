"""The process's own log, for whoever runs one: the watch, an ingester."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import structlog
from structlog.typing import EventDict, Processor

from models.inference import native_logs
from monitor.addresses import redacted
from monitor.config import LogConfig


def configure_logging(config: LogConfig) -> None:
    """The process's own log, to standard error: readable on a terminal, JSON elsewhere."""
    human = config.format == "console" or (config.format == "auto" and sys.stderr.isatty())
    renderer: Processor = (
        structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _without_secrets,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[config.level.upper()]
        ),
        # Looked up at each line: standard error may be another by then (`natives_silenced`).
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _without_secrets(_: object, __: str, event: EventDict) -> EventDict:
    """Whatever quotes an address, a library's error too, quotes it without its password."""
    return {
        key: redacted(value) if isinstance(value, str) else value for key, value in event.items()
    }


@contextmanager
def natives_silenced(config: LogConfig) -> Iterator[None]:
    """Keep what C++ libraries print past Python off standard error, unless the level is debug."""
    with nullcontext() if config.level == "debug" else native_logs.natives_silenced():
        yield
