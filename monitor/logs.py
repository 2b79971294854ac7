"""The process's own log, for whoever runs one: the watch, an ingester."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
        # Looked up at each line: standard error may be another by then (`natives_silenced`).
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


@contextmanager
def natives_silenced(config: LogConfig) -> Iterator[None]:
    """Keep what C++ libraries print past Python off standard error, unless the level is debug.

    MediaPipe greets with a dozen warnings on threads of its own, FFmpeg complains of every damaged
    packet: neither helps a driver, and the second would fill a log. Python's own standard error
    stays what it was.
    """
    if config.level == "debug":
        yield
        return
    sys.stderr.flush()
    ours, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    python_stderr = sys.stderr
    with os.fdopen(os.dup(ours), "w", buffering=1) as private:
        sys.stderr = private
        os.dup2(nowhere, 2)
        try:
            yield
        finally:
            os.dup2(ours, 2)
            sys.stderr = python_stderr
            os.close(ours)
            os.close(nowhere)
