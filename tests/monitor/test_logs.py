"""The process's own log survives what is done to standard error."""

import json
import os

import pytest
import structlog

from monitor.config import LogConfig
from monitor.logs import configure_logging, natives_silenced


@pytest.fixture(autouse=True)
def _restored() -> object:
    yield
    structlog.reset_defaults()


def test_natives_are_silent_and_the_log_is_not(capfd: pytest.CaptureFixture[str]) -> None:
    config = LogConfig(format="json")
    with natives_silenced(config):
        configure_logging(config)
        structlog.get_logger().info("inside")
        os.write(2, b"W0000 chatter of a C++ library\n")
    structlog.get_logger().info("outside")
    os.write(2, b"heard again\n")
    lines = capfd.readouterr().err.splitlines()
    assert [json.loads(line)["event"] for line in lines[:2]] == ["inside", "outside"]
    assert lines[2:] == ["heard again"]


def test_debug_lets_the_natives_speak(capfd: pytest.CaptureFixture[str]) -> None:
    with natives_silenced(LogConfig(level="debug")):
        os.write(2, b"chatter\n")
    assert capfd.readouterr().err == "chatter\n"
