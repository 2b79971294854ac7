"""The examples of docs/mqtt.md, made by the real engine and encoder from drivers' stories.

    python -m tests.support.mqtt_page       rewrites the page's examples

`tests/monitor/test_mqtt_page.py` fails when an example is none that a vehicle sends.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from monitor.engine import Engine
from monitor.policy import Policy
from monitor.protocol import messages
from monitor.protocol.messages import Message, Narrator, Topics
from monitor.protocol.schemas import Loop, Stats
from monitor.sinks.store import MonitoredTime
from monitor.types import DriverState, Event, Kind, Phase, Position, Trip
from monitor.types.evidence import evidence_json
from tests.support.drivers import (
    Story,
    absent,
    attentive,
    blinking,
    eyes_closed,
    glare,
    look_left,
    yawning,
)
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "mqtt.md"
TOPICS = Topics("dms/v1", "truck-1")
TRIP = Trip("shift-12", Position(52.52, 13.405))
LEARNED = attentive(75)
FALLS_ASLEEP = LEARNED + eyes_closed(4) + attentive(5)
TIRED = LEARNED + (eyes_closed(0.9) + blinking(3.0)) * 20
AWAY = LEARNED + look_left(5) + attentive(5)
YAWNS = LEARNED + yawning(3) + attentive(3)
LEAVES = LEARNED + absent(6) + attentive(5)
DAZZLED = LEARNED + glare(5) + attentive(5)


@cache
def drive(story: Story) -> tuple[list[DriverState], list[Event]]:
    """What a vehicle at 80 km/h makes of a story."""
    engine = Engine(Policy(), drive="drive-1", models=("yolov5n_awake", "eye_state"))
    states, events = [], []
    for observation, _, commands in story.at(30):
        state, new = engine.update(observation, 80.0, commands, TRIP)
        states.append(state)
        events += new
    return states, [*events, *engine.finish()]


def examples() -> dict[str, Message]:
    """A message of each kind, by the name that marks it on the page."""
    states, events = drive(FALLS_ASLEEP)
    monitored = MonitoredTime()
    for state in drive(DAZZLED)[0]:
        monitored.add(state)
    report = monitored.settle("truck-1", "drive-1", "driver")
    assert report is not None
    at = states[-1].captured_at
    return {
        "alert": _falling_asleep(events),
        "state": messages.state(
            TOPICS,
            states[-1],
            camera="driver",
            drive="drive-1",
            policy=Policy().hash,
            fps=30.0,
        ),
        "coverage": messages.coverage(TOPICS, report, 2, report.ended_at),
        "stats": messages.stats(TOPICS, _stats(at)),
    }


def _falling_asleep(events: list[Event]) -> Message:
    """The message by which a microsleep becomes sleep."""
    narrator = Narrator()
    for number, event in enumerate(events, start=1):
        telling = narrator.tell(event)
        if event.kind is Kind.SLEEP:
            return messages.alert(TOPICS, telling, number, event.at)
    raise AssertionError("nobody fell asleep")


def last_evidence() -> Iterator[tuple[str, dict[str, Any]]]:
    """Kind and evidence of an alert of each rule, as it ended."""
    for story in (FALLS_ASLEEP, TIRED, AWAY, YAWNS, LEAVES, DAZZLED):
        _, events = drive(story)
        evidence = {event.evidence.rule: event for event in events if event.phase is Phase.END}
        wanted = _RULES[story]
        yield evidence[wanted].kind.value, dict(evidence_json(evidence[wanted].evidence))


_RULES = {
    FALLS_ASLEEP: "closure",
    TIRED: "perclos",
    AWAY: "distraction",
    YAWNS: "yawn",
    LEAVES: "absence",
    DAZZLED: "degraded",
}


def _stats(at: float) -> Stats:
    loop = Loop(fps=30.0, frames=1800, skipped=0, latency_p50_ms=9.0, latency_p95_ms=12.0)
    return Stats(
        vehicle="truck-1",
        time=messages.utc(at),
        at=at,
        software="0.1.0",
        uptime_s=60.0,
        cameras={"driver": loop},
        outbox_depth=0,
        outbox_bytes=0,
        lost=0,
        restarts=0,
        troubles={},
    )


def blocks(page: str) -> dict[str, str]:
    """The page's JSON examples, by the name that marks each."""
    marked = re.findall(r"<!-- example: (\w+) -->\n```json\n(.*?)```", page, re.DOTALL)
    return dict(marked)


def written_evidence(page: str) -> list[dict[str, Any]]:
    """The evidence in the page's table, one a rule."""
    table = page.partition("<!-- evidence -->")[2].partition("<!-- /evidence -->")[0]
    return [json.loads(cell) for cell in re.findall(r"`(\{.*?\})`", table)]


def renewed(page: str) -> str:
    """The page with every example made anew."""
    for name, message in examples().items():
        text = json.dumps(json.loads(message.payload), indent=2)
        page = re.sub(
            rf"(<!-- example: {name} -->\n```json\n).*?```",
            lambda m, text=text: f"{m[1]}{text}\n```",  # type: ignore[misc]
            page,
            flags=re.DOTALL,
        )
    rows = [f"| `{kind}` | `{json.dumps(found)}` |" for kind, found in last_evidence()]
    table = "\n".join(["| alert | evidence, as it ended |", "|---|---|", *rows])
    return re.sub(
        r"(<!-- evidence -->\n).*?(\n<!-- /evidence -->)",
        lambda m: f"{m[1]}{table}{m[2]}",
        page,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
