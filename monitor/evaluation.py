"""`wakeful evaluate`: the watch over a folder of recordings against written truth.

Every recording is looked at once; what was measured is kept as a trace, so that another policy or
another fusion is scored in seconds. A trace is used again while it is newer than its recording and
made by the same networks.
"""

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import TypedDict

import structlog
from rich.console import Console
from rich.progress import track

from models.tables import narrow_table
from monitor.camera import open_source
from monitor.config import CameraConfig, PerceptionConfig
from monitor.engine import Engine
from monitor.errors import ConfigError
from monitor.perception import open_perception
from monitor.perception.networks import Parts, open_parts
from monitor.policy import Policy, load_policy
from monitor.scoring import ClipScore, ClipTruth, read_truth, score_clip
from monitor.sinks.trace import SUFFIX, TraceHeader, observation_line, read_trace
from monitor.types import CLOSURES, KINDS, DriverState, Event, Kind, Level, Observation

log = structlog.get_logger(__name__)

LEVELS = (Level.CRITICAL, Level.WARNING, Level.CAUTION, Level.INFO)


@dataclass(frozen=True, slots=True)
class Run:
    """What one policy made of one clip; all times are seconds of the clip."""

    score: ClipScore
    observations: tuple[Observation, ...]
    states: tuple[DriverState, ...]
    events: tuple[Event, ...]


# --- looking -----------------------------------------------------------------------------------


class Looker:
    """Recordings as observations, looked at once and kept as traces.

    Args:
        config: how to look.
        folder: of the traces; None keeps none.

    Raises:
        ConfigError: a model is not there.
    """

    def __init__(self, config: PerceptionConfig, folder: Path | None) -> None:
        # An expression is never evidence of the eyes.
        self._config = config.model_copy(update={"emotion": None})
        self._folder = folder
        self._parts: Parts = open_parts(self._config)

    def __call__(self, recording: Path) -> list[Observation]:
        """What was measured on a recording, from 0 s on.

        Raises:
            SourceError: it cannot be read.
        """
        kept = self._trace_of(recording)
        if kept is not None and self._is_current(kept, recording):
            return [given[0] for given in read_trace(kept)[1]]
        observations = self._look(recording)
        if kept is not None:
            self._keep(kept, recording, observations)
        return observations

    def _look(self, recording: Path) -> list[Observation]:
        camera = CameraConfig(source=str(recording))
        with (
            open_source(camera) as source,
            open_perception(self._config, camera, parts=self._parts) as perceive,
        ):
            seen = [perceive(frame) for frame in source]
        return from_zero(seen)

    def _trace_of(self, recording: Path) -> Path | None:
        return None if self._folder is None else self._folder / f"{recording.stem}{SUFFIX}"

    def _is_current(self, kept: Path, recording: Path) -> bool:
        if not kept.exists() or kept.stat().st_mtime < recording.stat().st_mtime:
            return False
        return read_trace(kept)[0].models == self._parts.models

    def _keep(self, kept: Path, recording: Path, observations: Iterable[Observation]) -> None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        header = TraceHeader(
            vehicle="recording", drive=recording.stem, camera="driver", policy="default",
            models=self._parts.models,
        )  # fmt: skip
        lines = [json.dumps(asdict(header)), *map(observation_line, observations)]
        with gzip.open(kept, "wb", compresslevel=5) as file:
            file.write("".join(f"{line}\n" for line in lines).encode())


def from_zero(observations: Sequence[Observation]) -> list[Observation]:
    """The same observations with the first at 0 s."""
    began_s = observations[0].timestamp_s if observations else 0.0
    return [replace(o, timestamp_s=round(o.timestamp_s - began_s, 6)) for o in observations]


# --- judging -----------------------------------------------------------------------------------


def judge(clip: ClipTruth, observations: Sequence[Observation], policy: Policy) -> Run:
    """Run a policy over what was measured on a clip, and score it."""
    engine = Engine(policy, drive=clip.name)
    states: list[DriverState] = []
    events: list[Event] = []
    for observation in observations:
        state, raised = engine.update(observation)
        states.append(state)
        events += raised
    events += engine.finish()
    return Run(score_clip(clip, events, policy), tuple(observations), tuple(states), tuple(events))


class Hits(TypedDict):
    """Events of one family that were expected, and for how many an alert was raised."""

    expected: int
    raised: int


class Lateness(TypedDict):
    """Seconds from the moment an alert was due to the alert; None without one."""

    median: float | None
    worst: float | None


class Summary(TypedDict):
    """Counts over some clips; `late_s` has `closure` and `distraction`."""

    clips: int
    minutes: float
    closures: Hits
    distractions: Hits
    false_closure_alerts: dict[str, int]
    false_closure_warnings_per_hour: float | None
    false_distractions: int
    late_s: dict[str, Lateness]


class ExpectedRow(TypedDict):
    """One event of the truth, the kind raised for it, and how late; None where it was missed."""

    what: str
    from_s: float
    raised: str | None
    late_s: float | None


class FalseAlertRow(TypedDict):
    """An alert that nothing in the truth explains."""

    kind: str
    level: str
    from_s: float
    to_s: float


class ClipRow(TypedDict):
    """One clip's result; `raised` counts the alerts by kind."""

    clip: str
    group: str
    fails: bool
    expected: list[ExpectedRow]
    false: list[FalseAlertRow]
    raised: dict[str, int]


class RecordingsReport(TypedDict):
    """What one policy makes of a folder of recordings: by clip, by group and in all."""

    policy: dict[str, str]
    all: Summary
    groups: dict[str, Summary]
    clips: list[ClipRow]


def summary(scores: Sequence[ClipScore]) -> Summary:
    """Counts over some clips."""
    hours = sum(score.clip.seconds for score in scores) / 3600
    false = [alert for score in scores for alert in score.false if alert.kinds & set(CLOSURES)]
    return {
        "clips": len(scores),
        "minutes": round(60 * hours, 2),
        "closures": _hits(scores, "closure"),
        "distractions": _hits(scores, "distraction"),
        "false_closure_alerts": {
            level.name.lower(): sum(alert.level is level for alert in false) for level in LEVELS
        },
        "false_closure_warnings_per_hour": _rate(
            sum(alert.level >= Level.WARNING for alert in false), hours
        ),
        "false_distractions": sum(
            Kind.DISTRACTION in alert.kinds for score in scores for alert in score.false
        ),
        "late_s": {
            "closure": _late(scores, Kind.SLEEP),
            "distraction": _late(scores, Kind.DISTRACTION),
        },
    }


def _rate(count: int, hours: float) -> float | None:
    return round(count / hours, 2) if hours else None


def _hits(scores: Sequence[ClipScore], family: str) -> Hits:
    of_family = [
        event for score in scores for expected, event in score.matches
        if KINDS[expected.kinds[0]].track == family
    ]  # fmt: skip
    return {"expected": len(of_family), "raised": sum(event is not None for event in of_family)}


def _late(scores: Sequence[ClipScore], family: Kind) -> Lateness:
    late = [value for score in scores for value in score.late_s(family)]
    return {
        "median": round(median(late), 3) if late else None,
        "worst": round(max(late), 3) if late else None,
    }


# --- showing -----------------------------------------------------------------------------------


def clip_row(score: ClipScore) -> ClipRow:
    """One clip's result."""
    return {
        "clip": score.clip.name,
        "group": score.clip.group,
        "fails": score.fails,
        "expected": [
            {
                "what": expected.name,
                "from_s": round(expected.start_s, 2),
                "raised": event.kind.value if event else None,
                "late_s": round(event.at_s - expected.due_s, 2) if event else None,
            }
            for expected, event in score.matches
        ],
        "false": [
            {
                "kind": alert.last.kind.value,
                "level": alert.level.name.lower(),
                "from_s": round(alert.tellings[0].started_s, 2),
                "to_s": round(alert.last.at_s, 2),
            }
            for alert in score.false
        ],
        "raised": {kind.value: count for kind, count in sorted(score.raised.items())},
    }


def report_of(scores: Sequence[ClipScore], policy: Policy) -> RecordingsReport:
    """Everything that was counted."""
    groups = sorted({score.clip.group for score in scores if score.clip.group})
    return {
        "policy": {"id": policy.id, "hash": policy.hash},
        "all": summary(scores),
        "groups": {g: summary([s for s in scores if s.clip.group == g]) for g in groups},
        "clips": [clip_row(score) for score in scores],
    }


def show(console: Console, report: RecordingsReport) -> None:
    """Print a report as tables."""
    table = narrow_table(title=f"policy {report['policy']['id']}")
    for column in ("clip", "expected: raised, late by", "false alerts", "raised"):
        table.add_column(column, overflow="fold")
    for row in report["clips"]:
        mark = "[bold dark_orange]" if row["fails"] else ""
        table.add_row(
            f"{mark}{row['clip']}",
            "\n".join(map(_expected_cell, row["expected"])) or "-",
            "\n".join(
                f"{f['kind']} {f['level']} {f['from_s']:.1f}-{f['to_s']:.1f} s"
                for f in row["false"]
            )
            or "-",
            ", ".join(f"{kind} {count}" for kind, count in row["raised"].items()) or "-",
        )
    console.print(table)
    for name, counts in {**report["groups"], "all": report["all"]}.items():
        console.print(f"[bold]{name}[/]: {_sentence(counts)}", highlight=False)


def _expected_cell(row: ExpectedRow) -> str:
    if row["raised"] is None or row["late_s"] is None:
        return f"{row['what']} at {row['from_s']:.1f} s: [bold dark_orange]MISSED[/]"
    return f"{row['what']} at {row['from_s']:.1f} s: {row['raised']}, {row['late_s']:+.2f} s"


def _sentence(counts: Summary) -> str:
    closures, away = counts["closures"], counts["distractions"]
    levels = ", ".join(f"{n} {level}" for level, n in counts["false_closure_alerts"].items() if n)
    late = counts["late_s"]
    return (
        f"{counts['clips']} clips, {counts['minutes']} min; closures {closures['raised']} of "
        f"{closures['expected']}, late {_span(late['closure'])}; distractions {away['raised']} of "
        f"{away['expected']}, late {_span(late['distraction'])}; false closure alerts: "
        f"{levels or 'none'} ({counts['false_closure_warnings_per_hour']} warnings an hour); "
        f"false distractions {counts['false_distractions']}"
    )


def _span(late: Lateness) -> str:
    if late["median"] is None:
        return "-"
    return f"{late['median']:+.2f} s median, {late['worst']:+.2f} s worst"


# --- the command -------------------------------------------------------------------------------


def evaluate(
    console: Console,
    recordings: Path,
    truth: Path,
    *,
    perception: PerceptionConfig,
    policies: Sequence[str],
    traces: Path | None = None,
    pictures: Path | None = None,
    json_file: Path | None = None,
) -> bool:
    """Score the watch over recordings and print what it found.

    Args:
        console: the tables go there.
        recordings: folder of the clips that the truth names.
        truth: a truth file, see `monitor.scoring`.
        perception: which networks look.
        policies: whose thresholds judge; a second is shown beside the first.
        traces: folder where what was measured is kept.
        pictures: folder for a timeline of each clip that fails.
        json_file: the report as JSON.

    Returns:
        True when no clip fails under the first policy.

    Raises:
        ConfigError: the truth, a policy or a recording is not there.
        SourceError: a recording cannot be read.
    """
    clips = read_truth(truth)
    loaded = [load_policy(name) for name in policies]
    missing = [clip.file for clip in clips if not (recordings / clip.file).is_file()]
    if missing:
        raise ConfigError(f"{recordings}: has no {missing[0]}, which {truth} names")
    look = Looker(perception, traces)
    reports: list[RecordingsReport] = []
    seen = [
        look(recordings / clip.file)
        for clip in track(clips, "looking", console=console, transient=True)
    ]
    for chosen in loaded:
        runs = [judge(clip, given, chosen) for clip, given in zip(clips, seen, strict=True)]
        reports.append(report_of([run.score for run in runs], chosen))
        show(console, reports[-1])
        if pictures is not None:
            _draw_failing(runs, pictures / chosen.id, console)
    if json_file is not None:
        content = reports[0] if len(reports) == 1 else {"policy": reports[0], "against": reports[1]}
        json_file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return not any(row["fails"] for row in reports[0]["clips"])


def _draw_failing(runs: Sequence[Run], folder: Path, console: Console) -> None:
    from monitor.timeline import draw_timeline  # noqa: PLC0415 - matplotlib, only when asked for

    failing = [run for run in runs if run.score.fails]
    for run in failing:
        draw_timeline(run, folder / f"{run.score.clip.name}.png")
    console.print(f"{len(failing)} timelines in {folder}", highlight=False)
