"""CONTRIBUTING.md's "Add a rule" is true: done to a copy of the source, its alert arrives."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RULE = PAGE.partition("## Add a rule")[2].partition("\n## ")[0]
COPIED = ("monitor", "configs", "dashboard")
LINKED = ("models", "tests")
STEP = re.compile(
    r"(?:(Before|After) `([^`]+)` in|At the (end) of|The (new) file) `([^`]+)`:\n"
    r" *```(?:text|python|yaml)\n(.*?\n) *```",
    re.DOTALL,
)

# What a vehicle would do with a driver who lets the head sink on a shoulder, and what is shown.
STORY = """
import sys, time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from monitor.engine import Engine
from monitor.policy import load_policy
from monitor.sinks.mqtt.broker import EmbeddedBroker
from monitor.store import recent_events, schema
from monitor.types import HeadPose, Kind
from tests.support.drivers import attentive
from tests.support.listeners import Listener, vehicle, watching
from tests.support.servers import until

folder = Path(sys.argv[1])
engine = Engine(load_policy("default"), drive="drive-1")
events = []
for observation, _, _ in (attentive(75) + attentive(8)).at(30, wall=lambda t: time.time() + t - 83):
    if observation.index >= 75 * 30:
        observation = replace(observation, pose=HeadPose(0.0, 0.0, 35.0))
    events += engine.update(observation, 80.0)[1]
events += engine.finish()
(tilted, *_) = [event for event in events if event.kind is Kind("tilted")]
with EmbeddedBroker(0) as broker, Listener(broker.port) as listener:
    config = vehicle(folder, broker.port, protocol="3.1.1")
    with watching(config) as (store, sink):
        for event in events:
            store.record(event)
        until(lambda: [a for a in listener.alerts() if a.data.kind == "tilted"], what="on MQTT")
(logged,) = [e for e in recent_events(config.store.url) if e.kind is Kind("tilted")]
assert logged.evidence.tilted_s >= load_policy("default").tilt.after_s, logged

import os
import streamlit
os.environ.update(WAKEFUL_STORE__URL=config.store.url, WAKEFUL_HOME=str(folder / "home"))
streamlit.config.set_option("server.address", "127.0.0.1")
from tests.support.dashboards import opened, words
assert "Head tilted" in words(opened("events", timeout_s=120, event=tilted.id)), "not on the page"
print("the alert arrived")
"""


def follow(page: str, source: Path) -> int:
    """Do what the page says to the source; how many steps it has."""
    steps = STEP.findall(page)
    for place, anchor, _, _, name, block in steps:
        path, text = source / name, _outdented(block)
        if not place:
            before = path.read_text(encoding="utf-8") if path.exists() else ""
            path.write_text(before + text, encoding="utf-8")
            continue
        whole = path.read_text(encoding="utf-8")
        assert anchor in whole, f"{name} has no line {anchor!r}"
        line = next(line for line in whole.splitlines(keepends=True) if line.startswith(anchor))
        new = text + line if place == "Before" else line + text
        path.write_text(whole.replace(line, new, 1), encoding="utf-8")
    return len(steps)


def _outdented(block: str) -> str:
    """A block as it stands in the list, without the list's indentation."""
    lines = block.splitlines(keepends=True)
    return "".join(line.removeprefix("   ") for line in lines)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the source, to be changed."""
    for name in COPIED:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / "source" / name, ignore=ignore)
    for name in LINKED:
        (tmp_path / "source" / name).symlink_to(ROOT / name)
    return tmp_path / "source"


@pytest.mark.timeout(300)
def test_a_rule_added_as_the_page_says_is_in_the_log_on_mqtt_and_on_the_page(
    source: Path, tmp_path: Path
) -> None:
    assert follow(RULE, source) == RULE.count("```") // 2, "a step of the page was not understood"
    told = subprocess.run(
        [sys.executable, "-c", STORY, str(tmp_path)],
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert told.returncode == 0, textwrap.shorten(told.stderr[-3000:], 3000)
    assert "the alert arrived" in told.stdout
