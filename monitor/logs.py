"""The process's own log, for whoever runs one: the watch, an ingester."""

import logging
import sys
from typing import Any

import structlog

from monitor.config import LogConfig


def configure_logging(config: LogConfig) -> None:
    """The process's own log, to standard error: readable on a terminal, JSON elsewhere."""
    human = config.format == "console" or (config.format == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[config.level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
